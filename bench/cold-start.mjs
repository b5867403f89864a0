/** From the start of a process to the first token of its first request, and what has to be installed for it. */
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { CONTESTANTS } from "./support/contestants.mjs";
import { figure, spread, table, whole } from "./support/format.mjs";
import { closureOf } from "./support/installed.mjs";
import { turn } from "./support/load.mjs";
import { alternate, quartiles } from "./support/measure.mjs";
import { installPeers } from "./support/peers.mjs";
import { startServer } from "./support/servers.mjs";

export const title = "How long does a cold process take, and what does it need?";
export const minutes = 4;

const at = (name) => fileURLToPath(new URL(name, import.meta.url));

async function coldStart(name) {
  const from = performance.now();
  const { child, port } = await startServer(name);
  try {
    const listening = performance.now() - from;
    const { first } = await turn(port, CONTESTANTS[name].request(randomUUID(), 0, 50), 50);
    return { listening, first: listening + first };
  } finally {
    await child.kill();
  }
}

/** What `npm publish` would send, and what is installed with it. */
function ownPackage() {
  const args = ["pack", "--dry-run", "--json", "--ignore-scripts", "--loglevel=error"];
  const packed = JSON.parse(execFileSync("npm", args, { cwd: at(".."), encoding: "utf8" }));
  // An array, or by name in later versions of npm.
  const { size, unpackedSize, entryCount } = Object.values(packed)[0];
  return { size, unpackedSize, files: entryCount };
}

export async function run({ quick = false, progress = () => {}, only = () => true } = {}) {
  installPeers(progress);
  const names = Object.keys(CONTESTANTS).filter(only);
  const errors = [];
  const samples = await alternate(
    quick ? 1 : 9,
    names.map((name) => async (round) => {
      progress(`${name}, start ${round + 1}`);
      try {
        return await coldStart(name);
      } catch (error) {
        errors.push({ name, error: error.message });
        progress(`${name}: ${error.message}`);
        return undefined;
      }
    }),
  );
  const rows = names.flatMap((name, index) => {
    const { from, install } = CONTESTANTS[name];
    const taken = samples[index].filter((sample) => sample !== undefined);
    if (taken.length === 0) return [];
    return {
      name,
      listening: quartiles(taken.map(({ listening }) => listening)),
      first: quartiles(taken.map(({ first }) => first)),
      ...closureOf(at(from), install),
    };
  });
  return {
    own: ownPackage(),
    alone: closureOf(at(".."), ["agent-sessions"], { peers: false }),
    rows,
    errors,
  };
}

export function report({ own, alone, rows, errors }) {
  const failed = errors.map(({ name, error }) => ` ${name} failed: ${error.slice(0, 200)}.`).join("");
  return `From the start of the process to the first token of the first answer over HTTP, model and all of the process cold (quartiles of
fresh processes, on a warm disk); and what a user installs for it: its packages with all that they need, in packages and MB
on disk. The package itself is ${whole(own.size / 1000)} KB to download, ${whole(own.unpackedSize / 1000)} KB unpacked, and brings
${alone.packages - 1} packages with it (${alone.direct.join(", ")}, and what they need); LangChain and LangGraph are peers that a user of them has anyway.${failed}

${table(
  ["", "listens after ms", "first token after ms", "packages", "MB installed"],
  rows.map(({ name, listening, first, packages, bytes }) => [
    name,
    spread(listening, whole),
    spread(first, whole),
    packages === 0 ? "none" : packages,
    packages === 0 ? "" : figure(bytes / 1e6),
  ]),
)}`;
}
