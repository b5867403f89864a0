/*
 * A network between a client and its server that can be made bad:
 *
 *   open: bytes go through, late by `delayMs`
 *   swallowed: connections stay open and nothing comes through, as behind a firewall that drops; what is sent meanwhile
 *     arrives when it is opened again
 *   cut: connections are reset and new ones refused, as when the server's machine is gone
 */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface NetworkProxy {
  readonly port: number;
  /** The server's URL with the proxy's address in it. */
  readonly url: string;
  /** Milliseconds for each piece, in both directions. */
  delay(ms: number): void;
  swallow(): void;
  cut(): void;
  open(): void;
  stop(): Promise<void>;
}

/** Forwards to the host and port of `target`. */
export async function startProxy(target: string): Promise<NetworkProxy> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let state: "open" | "swallowed" | "cut" = "open";
  let delayMs = 0;

  const server = createServer((client) => {
    if (state === "cut") {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect(Number(port), hostname);
    pass(client, upstream);
    pass(upstream, client);
  });

  function pass(from: Socket, to: Socket): void {
    sockets.add(from);
    from.setNoDelay();
    if (state === "swallowed") from.pause();
    // What is late is not overtaken by what comes when the network is fast again.
    const late: { readonly bytes: Buffer; readonly due: number }[] = [];
    const send = (): void => {
      const [first] = late;
      if (first === undefined) return;
      const wait = first.due - performance.now();
      if (wait > 0) {
        setTimeout(send, wait).unref();
        return;
      }
      late.shift();
      to.write(first.bytes);
      send();
    };
    from.on("data", (bytes: Buffer) => {
      if (delayMs === 0 && late.length === 0) {
        to.write(bytes);
        return;
      }
      late.push({ bytes, due: performance.now() + delayMs });
      if (late.length === 1) send();
    });
    from.on("error", () => to.destroy());
    from.on("close", () => {
      sockets.delete(from);
      to.destroy();
    });
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = new URL(target);
  const own = (server.address() as AddressInfo).port;
  url.port = String(own);
  return {
    port: own,
    url: url.href,
    delay(ms) {
      delayMs = ms;
    },
    swallow() {
      state = "swallowed";
      for (const socket of sockets) socket.pause();
    },
    cut() {
      state = "cut";
      for (const socket of sockets) socket.resetAndDestroy();
    },
    open() {
      state = "open";
      for (const socket of sockets) socket.resume();
    },
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
