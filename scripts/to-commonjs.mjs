// Makes dist/*.cjs and dist/*.d.cts from dist/*.js and dist/*.d.ts, file by file, so that both halves of the
// package have the same chunks and the entries share their classes in CommonJS too. (tsup's own CommonJS output
// either repeats shared code in every entry or lowers modern syntax.)
import { readdir, readFile, writeFile } from "node:fs/promises";
import { transform } from "esbuild";

const dist = new URL("../dist/", import.meta.url);
const RELATIVE_SPECIFIER = /(["'])(\.\.?\/[^"']+)\.js\1/g;

for (const name of await readdir(dist)) {
  const types = name.endsWith(".d.ts");
  if (!types && !name.endsWith(".js")) continue;
  const source = (await readFile(new URL(name, dist), "utf8")).replaceAll(RELATIVE_SPECIFIER, "$1$2.cjs$1");
  if (types) {
    await writeFile(new URL(name.replace(/\.d\.ts$/, ".d.cts"), dist), source);
    continue;
  }
  const { code } = await transform(source, {
    format: "cjs",
    platform: "node",
    target: "node20",
    // A native import() cannot be used under Jest and fails where only `require` is set up.
    supported: { "dynamic-import": false },
  });
  await writeFile(new URL(name.replace(/\.js$/, ".cjs"), dist), code);
}
