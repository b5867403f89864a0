// Runs an example straight from its TypeScript: `node examples/run.mjs quickstart`.
// The import of "agent-sessions" leads to this repository's own sources, so that nothing has to be built before.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const examples = dirname(fileURLToPath(import.meta.url));
const source = (path) => join(examples, "..", "src", path);
const names = readdirSync(examples, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && readdirSync(join(examples, entry.name)).includes("main.ts"))
  .map((entry) => entry.name);

const name = process.argv[2];
if (!names.includes(name)) {
  console.error(`Usage: node examples/run.mjs <${names.join(" | ")}>`);
  process.exit(2);
}

// Below node_modules, so that the packages are found from there.
const cache = join(examples, "..", "node_modules", ".cache");
mkdirSync(cache, { recursive: true });
const outdir = mkdtempSync(join(cache, `agent-sessions-${name}-`));
process.on("exit", () => rmSync(outdir, { recursive: true, force: true }));
// Without a handler, a signal would end the process without the line above.
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
])
  process.once(signal, () => {
    // An example that has one of its own ends by itself.
    if (process.listenerCount(signal) === 0) process.exit(code);
  });

await build({
  // Children that an example starts are files of their own.
  entryPoints: readdirSync(join(examples, name))
    .filter((file) => file === "main.ts" || file.endsWith(".child.ts"))
    .map((file) => join(examples, name, file)),
  outdir,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  packages: "external",
  alias: {
    "agent-sessions": source("index.ts"),
    "agent-sessions/express": source("express.ts"),
    "agent-sessions/http": source("http/index.ts"),
    "agent-sessions/langgraph": source("langgraph/index.ts"),
    "agent-sessions/postgres": source("store/postgres/index.ts"),
    "agent-sessions/redis": source("store/redis/index.ts"),
    "agent-sessions/testing": source("testing/index.ts"),
  },
  platform: "node",
  format: "esm",
  target: "node20",
  logLevel: "warning",
}).catch(() => process.exit(1)); // esbuild has said why.
// Files that are served lie beside the program. A link, so that an edited page needs no restart.
const pages = join(examples, name, "public");
if (existsSync(pages)) symlinkSync(pages, join(outdir, "public"), "junction");
// What the tests end throwaway engines with: the example that starts some looks for it beside itself.
symlinkSync(join(examples, "..", "test", "support", "engines", "keeper.mjs"), join(outdir, "keeper.mjs"));
await import(pathToFileURL(join(outdir, "main.mjs")).href);
