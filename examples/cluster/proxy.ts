import { once } from "node:events";
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { buffer } from "node:stream/consumers";
import type { Fleet } from "./fleet.js";

/**
 * Sends each request to the next process: no sticky sessions. One that cannot be reached is passed over; an answer
 * that breaks in the middle breaks for the client too, as with any load balancer.
 */
export async function startProxy(
  fleet: Fleet,
  own: (request: IncomingMessage, response: ServerResponse) => boolean = () => false,
): Promise<Server> {
  let turn = 0;
  const server = createServer((request, response) => {
    if (own(request, response)) return;
    void pass(request, response);
  });

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request).catch(() => undefined);
    if (body === undefined) return;
    const candidates = fleet.running;
    turn += 1;
    for (let i = 0; i < candidates.length; i += 1) {
      const port = candidates[(turn + i) % candidates.length]?.port;
      const outgoing = httpRequest({
        host: "127.0.0.1",
        port,
        method: request.method,
        path: request.url,
        headers: { ...request.headers, connection: "close" },
      });
      response.once("close", () => outgoing.destroy());
      outgoing.end(body);
      try {
        const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
        outgoing.on("error", () => response.destroy());
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.on("error", () => response.destroy());
        answer.pipe(response);
        return;
      } catch {
        // Nothing of an answer came: the next one is asked. Run ids make it safe to ask twice.
        if (response.destroyed) return;
      }
    }
    response.writeHead(503, { "retry-after": "1" }).end();
  }

  await once(server.listen(0, "127.0.0.1"), "listening");
  return server;
}
