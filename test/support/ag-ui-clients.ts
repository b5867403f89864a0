import { HttpAgent as Agent1 } from "@ag-ui/client";
import { HttpAgent as Agent0 } from "ag-ui-client-0";

export interface AgUiEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}
interface Interrupt {
  readonly id: string;
  readonly toolCallId?: string;
  readonly message?: string;
}
interface ClientMessage {
  readonly id: string;
  readonly role: string;
  readonly content?: unknown;
  readonly toolCalls?: readonly { readonly id: string }[];
}
/** What both versions of the client have in common. */
export interface Client {
  messages: ClientMessage[];
  setMessages(messages: readonly ClientMessage[]): void;
  addMessage(message: { id: string; role: "user"; content: string }): void;
  runAgent(
    input: object,
    subscriber: { onEvent(params: { event: AgUiEvent }): void; onRunErrorEvent?(): void },
  ): Promise<unknown>;
}

export type MakeClient = (url: string, threadId: string, headers: Record<string, string>) => Client;

export const agUiClients: [string, MakeClient][] = [
  ["@ag-ui/client 1.0.0", (url, threadId, headers) => new Agent1({ url, threadId, headers })],
  ["@ag-ui/client 0.0.59", (url, threadId, headers) => new Agent0({ url, threadId, headers })],
];

let ids = 0;

/** Says something in the client's thread, and gives the events of the run. */
export async function say(client: Client, content: string): Promise<AgUiEvent[]> {
  ids += 1;
  client.addMessage({ id: `m-${String(ids)}`, role: "user", content });
  return run(client, {});
}

export async function run(client: Client, input: object): Promise<AgUiEvent[]> {
  const events: AgUiEvent[] = [];
  ids += 1;
  await client
    .runAgent({ runId: `run-${String(ids)}`, ...input }, { onEvent: ({ event }) => void events.push(event) })
    .catch((error: unknown) => {
      // Clients differ in whether a run's own error rejects; the event tells either way.
      if (events.at(-1)?.type !== "RUN_ERROR") throw error;
    });
  return events;
}

export function interruptsOf(events: readonly AgUiEvent[]): readonly Interrupt[] {
  const { outcome } = events.at(-1) as unknown as { outcome?: { interrupts?: readonly Interrupt[] } };
  return outcome?.interrupts ?? [];
}
