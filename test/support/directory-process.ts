/*
 * A process with a store in a directory of PGlite: submits runs until it is killed, saying how many are accepted. Where
 * it is refused it says why, closes all, as it should, and ends.
 */
import { PGlite } from "@electric-sql/pglite";
import { postgresStore } from "../../src/store/postgres/index.js";
import { submission } from "./ledger-requests.js";

const [directory = "", prefix = ""] = process.argv.slice(2);
const store = postgresStore({ directory, open: (path) => new PGlite(path) });
const say = (what: object): void => {
  process.stdout.write(`${JSON.stringify(what)}\n`);
};

try {
  await store.init();
  for (let count = 1; ; count++) {
    await store.runs.submit(submission({ sessionId: `${prefix}${String(count)}`, runId: "r" }));
    say({ accepted: count });
  }
} catch (error) {
  say({ code: (error as { code?: string }).code, message: (error as Error).message });
}
await store.close();
