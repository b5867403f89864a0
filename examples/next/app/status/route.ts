import { moduleId, shared } from "../../lib/chat";

/** A second route with a bundle of its own: what it says of the service is what the first one made of it. */
export async function GET(): Promise<Response> {
  const { chat, madeBy } = await shared();
  return Response.json({ module: moduleId, madeBy, ...chat.manager.getStats() });
}

export const dynamic = "force-dynamic";
