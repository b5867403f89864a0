import type { ServerResponse } from "node:http";
import type { Reply } from "./reply.js";
import type { EventBody } from "./sse.js";

/** Sends an answer; resolves when it has been handed over whole, or the client has gone. */
export async function sendReply(res: ServerResponse, { status, headers, body }: Reply): Promise<void> {
  if (body === null || typeof body === "string") {
    if (!res.destroyed) res.writeHead(status, headers).end(body ?? undefined);
    return;
  }
  if (res.destroyed) {
    // Nobody is left to read it.
    body.cancel();
    return;
  }
  try {
    res.writeHead(status, headers);
  } catch (error) {
    // Somebody has answered already.
    body.cancel();
    throw error;
  }
  await sendEvents(res, body);
}

/** Writes a run's events as they come, strings without a stream between; while Node's own buffer is full they wait. */
function sendEvents(res: ServerResponse, body: EventBody): Promise<void> {
  return new Promise((resolve) => {
    let isFull = false;
    const send = (): void => {
      // Nothing was taken for too long; what closes the connection resolves this too.
      if (body.isCancelled) res.destroy();
      // What is written to a response whose client has gone would be an error of it.
      if (isFull || res.destroyed || res.writableEnded) return;
      const text = body.take();
      if (body.isOver) {
        res.end(text);
        resolve();
      } else if (text !== "") isFull = !res.write(text);
    };
    res.on("drain", () => {
      isFull = false;
      send();
    });
    res.once("close", () => {
      body.cancel();
      resolve();
    });
    body.open(send);
    send();
  });
}
