import { startPostgres } from "../../test/support/engines/postgres.js";
import { startRedis } from "../../test/support/engines/redis.js";

export interface Engine {
  readonly name: string;
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * The engine that the environment names (`DATABASE_URL` or `REDIS_URL`), else one of the machine's own programs, started
 * for the demo in a directory of its own and gone with it.
 */
export async function openEngine(kind: "postgres" | "redis"): Promise<Engine> {
  const name = kind === "postgres" ? "Postgres" : "Redis";
  const given = process.env[kind === "postgres" ? "DATABASE_URL" : "REDIS_URL"];
  if (given !== undefined && given !== "") return { name, url: given, stop: () => Promise.resolve() };
  const server = await (kind === "postgres" ? startPostgres() : startRedis());
  return { name, url: server.url, stop: () => server.stop() };
}
