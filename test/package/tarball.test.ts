import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import ts from "typescript";
import { describe, expect, inject, it } from "vitest";
import manifest from "../../package.json" with { type: "json" };

const run = promisify(execFile);
const project = inject("bareProject");
const home = join(project, "node_modules", manifest.name);
const root = fileURLToPath(new URL("../..", import.meta.url));
const entries = Object.keys(manifest.exports).filter((entry) => entry !== "./package.json");
const specifiers = entries.map((entry) => manifest.name + entry.slice(1));
const files = readdirSync(home, { recursive: true, withFileTypes: true })
  .filter((file) => file.isFile())
  .map((file) => relative(home, join(file.parentPath, file.name)));
const optionalPeers = Object.keys(manifest.peerDependenciesMeta);
const declared = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.peerDependencies)];

function node(code: string, ...flags: string[]): string {
  return execFileSync(process.execPath, [...flags, "--input-type=module", "--eval", code], {
    cwd: project,
    encoding: "utf8",
  });
}

function packageName(specifier: string): string {
  return specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
}

describe("the packed tarball", () => {
  it("holds what is needed and nothing else", () => {
    const wanted = ["LICENSE", "README.md", "README.zh-CN.md", "CHANGELOG.md", "package.json"];
    expect(files).toEqual(expect.arrayContaining(wanted));
    const rest = files.filter((file) => !wanted.includes(file));
    const fine = /^dist\/[\w-]+(\.d)?\.c?[jt]s$|^docs\/(decisions\/)?[\w-]+\.md$/;
    expect(rest.filter((file) => !fine.test(file))).toEqual([]);
  });

  it("has every file that its package.json names", () => {
    const named = JSON.stringify([manifest.main, manifest.module, manifest.types, manifest.exports]).match(
      /\.\/[^"]+/g,
    );
    const targets = named?.filter((path) => !entries.includes(path)) ?? [];
    expect(targets.length).toBeGreaterThan(entries.length * 4);
    expect(targets.filter((path) => !existsSync(join(home, path)))).toEqual([]);
  });

  it("imports only files of its own and declared packages, in types only required ones", () => {
    const wrong: string[] = [];
    for (const file of files.filter((name) => name.startsWith("dist/"))) {
      const { importedFiles } = ts.preProcessFile(readFileSync(join(home, file), "utf8"), true, true);
      for (const { fileName: specifier } of importedFiles) {
        const name = packageName(specifier);
        const target = file.includes(".d.") ? specifier.replace(/\.(c?)js$/, ".d.$1ts") : specifier;
        const fine = specifier.startsWith(".")
          ? existsSync(join(home, dirname(file), target))
          : specifier.startsWith("node:") ||
            (declared.includes(name) && !(file.includes(".d.") && optionalPeers.includes(name)));
        if (!fine) wrong.push(`${file}: ${specifier}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  describe.each(specifiers)("%s", (specifier) => {
    // The LangGraph factory needs `langchain`, which a bare project may lack until an agent is built.
    const exportsOf = (how: string, ...flags: string[]) =>
      JSON.parse(
        node(
          `import { createRequire } from "node:module";
           const require = createRequire(process.cwd() + "/");
           console.log(JSON.stringify(Object.keys(${how}(${JSON.stringify(specifier)})).sort()));`,
          ...flags,
        ),
      ) as string[];

    it("gives the same names to import and to require, without any optional peer", () => {
      const imported = exportsOf("await import");
      expect(imported.length).toBeGreaterThan(0);
      expect(imported).not.toContain("default");
      expect(exportsOf("require")).toEqual(imported);
    });

    it("can be required where ES modules cannot", () => {
      expect(exportsOf("require", "--no-experimental-require-module").length).toBeGreaterThan(0);
    });
  });

  it("loads neither @langchain/langgraph nor an optional peer with its root entry", () => {
    const log = join(project, "loaded.txt");
    writeFileSync(
      join(project, "log-loads.mjs"),
      `import { appendFileSync } from "node:fs";
       export async function load(url, context, next) {
         appendFileSync(${JSON.stringify(log)}, url + "\\n");
         return next(url, context);
       }`,
    );
    const imported = node(
      `import { readFileSync } from "node:fs";
       import { createRequire, register } from "node:module";
       import { pathToFileURL } from "node:url";
       register("./log-loads.mjs", pathToFileURL(process.cwd() + "/"));
       await import(${JSON.stringify(manifest.name)});
       console.log(readFileSync(${JSON.stringify(log)}, "utf8"));`,
    );
    const required = node(
      `import { createRequire } from "node:module";
       const require = createRequire(process.cwd() + "/");
       require(${JSON.stringify(manifest.name)});
       console.log(Object.keys(require.cache).join("\\n"));`,
    );
    for (const loaded of [imported, required]) {
      const packages = new Set(
        [...loaded.matchAll(/.*\/node_modules\/((?:@[^/]+\/)?[^/\n]+)\//g)].map(([, name]) => name),
      );
      expect(packages).toContain(manifest.name);
      expect(packages).toContain("@langchain/langgraph-checkpoint");
      for (const name of ["@langchain/langgraph", ...optionalPeers]) expect(packages).not.toContain(name);
    }
  });

  it.each([
    { how: "import", load: `await import("agent-sessions")` },
    { how: "require", load: `createRequire(process.cwd() + "/")("agent-sessions")` },
  ])("says after $how what to install when an optional peer is missing", ({ load }) => {
    const said = node(
      `import { createRequire } from "node:module";
       const { ChatService } = ${load};
       const error = await ChatService.create({ provider: "openai", model: "gpt-4.1" }).catch((e) => e);
       console.log(error.code, error.message);`,
    );
    expect(said).toMatch(/^MODEL_NOT_CONFIGURED .*`npm i langchain`/);
  });

  it.each([
    { consumer: "ES modules", file: "consumer.mts", module: "nodenext", moduleResolution: "nodenext" },
    { consumer: "CommonJS", file: "consumer.cts", module: "nodenext", moduleResolution: "nodenext" },
    { consumer: "ES modules on node16", file: "consumer.mts", module: "node16", moduleResolution: "node16" },
    { consumer: "CommonJS on node16", file: "consumer.cts", module: "node16", moduleResolution: "node16" },
    { consumer: "a bundler", file: "consumer.ts", module: "esnext", moduleResolution: "bundler" },
    { consumer: "the old resolution", file: "consumer.ts", module: "commonjs", moduleResolution: "node10" },
  ])("has types for $consumer", async ({ file, module, moduleResolution }) => {
    const folder = join(project, `types-${moduleResolution}-${file.replace(".", "-")}`);
    mkdirSync(folder, { recursive: true });
    const uses = specifiers.map(
      (specifier, index) =>
        `import * as entry${String(index)} from ${JSON.stringify(specifier)};
         type NotAny${String(index)} = 0 extends 1 & typeof entry${String(index)} ? never : string;
         export const present${String(index)}: NotAny${String(index)} = Object.keys(entry${String(index)}).join();`,
    );
    const sample = `
      import { ManualClock, ScriptedChatModel } from "agent-sessions/testing";
      export const model = new ScriptedChatModel(["hello"], { clock: new ManualClock() });
      // @ts-expect-error a reply is text or an object
      export const wrong = new ScriptedChatModel([1]);`;
    writeFileSync(join(folder, file), [...uses, sample].join("\n"));
    const compilerOptions = {
      module,
      moduleResolution,
      target: "es2022",
      lib: ["es2023", "dom", "esnext.disposable"],
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: true,
      noEmit: true,
      types: [],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: [file] }));
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    expect(await compile(tsc, folder)).toBe("");
  });
});

/** Not synchronous: the runner ends a worker that does not answer it for a minute. */
async function compile(tsc: string, folder: string): Promise<string> {
  try {
    return (await run(process.execPath, [tsc, "-p", folder, "--pretty", "false"])).stdout;
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}
