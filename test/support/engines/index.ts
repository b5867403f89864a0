/*
 * Real engines for tests. A test file starts its own server in `beforeAll` and stops it in `afterAll`; the leak guard
 * fails a file that forgets to. Tests of one file share it, each in a database (`createDatabase`) or under a prefix of
 * its own.
 */
import { describe } from "vitest";
import { missingPostgres } from "./postgres.js";
import { missingRedis } from "./redis.js";

export type { EngineServer } from "./server.js";
export { startProxy, type NetworkProxy } from "./proxy.js";
export { startPostgres, type PostgresOptions, type PostgresServer } from "./postgres.js";
export { startRedis, type RedisOptions, type RedisServer } from "./redis.js";

/** `describe`, where there is a Postgres to start. Elsewhere it is skipped, with what to install; in CI that fails. */
export function describeWithPostgres(name: string, fn: () => void): void {
  describeUnless(missingPostgres(), name, fn);
}

/** `describe`, where there is a Redis to start. Elsewhere it is skipped, with what to install; in CI that fails. */
export function describeWithRedis(name: string, fn: () => void): void {
  describeUnless(missingRedis(), name, fn);
}

function describeUnless(missing: string | undefined, name: string, fn: () => void): void {
  if (missing === undefined) describe(name, fn);
  else if (process.env["CI"] === "true") throw new Error(missing);
  else describe.skip(`${name} (${missing})`, fn);
}
