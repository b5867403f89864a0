import { createReadStream } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import type { Fleet } from "./fleet.js";

const FILES: Readonly<Record<string, readonly [file: string, type: string]>> = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/app.js": ["app.js", "text/javascript; charset=utf-8"],
  "/styles.css": ["styles.css", "text/css; charset=utf-8"],
};

/** The page of the demo, and what its buttons order: it sits at the proxy, where it outlives every process. */
export class Page {
  readonly #fleet: Fleet;
  readonly #starting = new Set<Promise<unknown>>();

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  /** Serves what is the page's own; false for all else. */
  readonly serve = (request: IncomingMessage, response: ServerResponse): boolean => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    const file = FILES[pathname];
    if (request.method === "GET" && file !== undefined) {
      response.writeHead(200, {
        "content-type": file[1],
        "content-security-policy": "default-src 'self'; base-uri 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
      });
      createReadStream(fileURLToPath(new URL(`./public/${file[0]}`, import.meta.url))).pipe(response);
      return true;
    }
    if (request.method === "GET" && pathname === "/demo/processes") {
      const processes = this.#fleet.running.map(({ name, pid }) => ({ name, pid }));
      response.writeHead(200, { "content-type": "application/json", "cache-control": "no-store" });
      response.end(JSON.stringify({ processes }));
      return true;
    }
    if (request.method === "POST" && pathname === "/demo/kill") {
      // Only the demo's own page may: other sites cannot set this header without being asked first.
      const isOwn = request.headers["x-demo"] === "1";
      const name = searchParams.get("name") ?? "";
      const runs = this.#fleet.running.some((ship) => ship.name === name);
      response.writeHead(isOwn && runs ? 202 : 404).end();
      if (isOwn && runs) this.#replace(name);
      return true;
    }
    return false;
  };

  /** Waits for processes that are being started. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#starting);
  }

  /** Kills a process and starts another in its place, a little later. */
  #replace(name: string): void {
    const replaced = this.#fleet
      .kill(name)
      .then(() => new Promise((resolve) => setTimeout(resolve, 3_000)))
      .then(() => this.#fleet.start(name))
      .catch((error: unknown) => {
        console.error(error);
      })
      .finally(() => this.#starting.delete(replaced));
    this.#starting.add(replaced);
  }
}
