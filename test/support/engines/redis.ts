/* A throwaway redis-server from PATH. */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { startServer, type EngineServer } from "./server.js";

/** Why there is none to start, in one line; `undefined` when there is. */
export function missingRedis(): string | undefined {
  return binary() ? undefined : "no redis-server found: apt-get install redis-server";
}

export interface RedisOptions {
  /**
   * What survives a kill. `none` (the default) keeps nothing, so that a restart comes up empty; `everysec` and
   * `always` are its append-only file.
   */
  readonly persistence?: "none" | "everysec" | "always" | undefined;
  readonly password?: string | undefined;
  /** Further settings as in redis.conf, for example `{ maxmemory: "10mb" }`. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
}

export interface RedisServer extends EngineServer {
  /** As `restart`, but what it had persisted is gone. */
  restartEmpty(): Promise<void>;
}

/** Starts one. @throws Error when there is no binary (`missingRedis` says so) or it does not start; the message has its log. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const command = binary();
  if (command === undefined) throw new Error(missingRedis());
  const persistence = options.persistence ?? "none";
  const settings = {
    bind: "127.0.0.1",
    save: "",
    appendonly: persistence === "none" ? "no" : "yes",
    appendfsync: persistence === "always" ? "always" : "everysec",
    ...(options.password === undefined ? {} : { requirepass: options.password }),
    ...options.settings,
  };
  let data = "";
  const server = await startServer({
    name: "redis",
    ready: /Ready to accept connections/,
    portTaken: /Address already in use/,
    endSignal: "SIGTERM",
    url: (port) =>
      `redis://${options.password === undefined ? "" : `:${options.password}@`}127.0.0.1:${String(port)}`,
    prepare: async (directory) => {
      data = directory;
    },
    command: (directory, port) => ({
      command,
      args: [
        ...["--port", String(port), "--dir", directory, "--daemonize", "no"],
        ...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
      ],
    }),
  });
  return Object.assign(server, {
    restartEmpty: async () => {
      await server.kill();
      await rm(join(data, "appendonlydir"), { recursive: true, force: true });
      await server.restart();
    },
  });
}

function binary(): string | undefined {
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "redis-server"))
    .find((path) => existsSync(path));
}
