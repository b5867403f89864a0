import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";
import manifest from "../../package.json" with { type: "json" };

declare module "vitest" {
  export interface ProvidedContext {
    /** Has the unpacked tarball, its dependencies and its required peers; no optional peer. */
    bareProject: string;
    /** As {@link bareProject}, with `langchain`, what README.md's server needs, and the test runners beside it. */
    hostProject: string;
  }
}

const root = fileURLToPath(new URL("../..", import.meta.url));

/**
 * Packs the package as npm would publish it and unpacks it into the `node_modules` of two projects outside the
 * repository, where it can reach only what is linked beside it. `AGENT_SESSIONS_TARBALL` names one packed before.
 */
export default function setup(project: TestProject): () => void {
  const scratch = mkdtempSync(join(tmpdir(), "agent-sessions-package-"));
  const tarball = process.env["AGENT_SESSIONS_TARBALL"] ?? pack(scratch);
  const required = Object.keys(manifest.peerDependencies).filter(
    (name) => !(name in manifest.peerDependenciesMeta),
  );
  const needed = [...Object.keys(manifest.dependencies), ...required];
  project.provide("bareProject", install(join(scratch, "bare"), tarball, needed));
  project.provide(
    "hostProject",
    install(join(scratch, "host"), tarball, [
      ...needed,
      "langchain",
      "@langchain/openai",
      "express",
      "vitest",
      "jest",
    ]),
  );
  return () => {
    rmSync(scratch, { recursive: true, force: true });
  };
}

/** Packs the package as npm would publish it, and gives the path of the tarball. */
export function pack(destination: string): string {
  execFileSync("npm", ["pack", "--silent", "--pack-destination", destination], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const tarball = readdirSync(destination).find((name) => name.endsWith(".tgz"));
  if (tarball === undefined) throw new Error("`npm pack` left no tarball.");
  return join(destination, tarball);
}

function install(project: string, tarball: string, links: readonly string[]): string {
  const modules = join(project, "node_modules");
  const home = join(modules, manifest.name);
  mkdirSync(home, { recursive: true });
  execFileSync("tar", ["-xzf", tarball, "-C", home, "--strip-components=1"]);
  for (const name of links) {
    const link = join(modules, name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, "node_modules", name), link, "junction");
  }
  return project;
}
