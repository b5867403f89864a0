/*
 * Before the fault tests: bundles the worker, from the sources and with all packages, so that its many processes start in
 * half the time.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { TestProject } from "vitest/node";
import { keptDirectory } from "../../support/engines/keeper.js";

declare module "vitest" {
  interface ProvidedContext {
    /** The worker's program. */
    readonly worker: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // Below node_modules, so that the packages are found from there.
  const cache = fileURLToPath(new URL("../../../node_modules/.cache/", import.meta.url));
  mkdirSync(cache, { recursive: true });
  const directory = await keptDirectory("faults", cache);
  const worker = join(directory.path, "worker.mjs");
  await build({
    entryPoints: [fileURLToPath(new URL("worker.ts", import.meta.url))],
    outfile: worker,
    bundle: true,
    // CommonJS packages in it ask for Node's own modules.
    banner: {
      js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
    },
    platform: "node",
    format: "esm",
    target: "node20",
    // It warns of provider packages that are not installed.
    logLevel: "error",
  }).catch(async (error: unknown) => {
    await directory.remove();
    throw error;
  });
  project.provide("worker", worker);
  return () => directory.remove();
}
