/*
 * The guide's code: every ```ts block of README.md and docs/*.md as a module of its own, type-checked as a stranger
 * with a usual tsconfig would see it, and run against the sources. Blocks of ```tsx are type-checked only.
 *
 * An HTML comment before a block says what differs:
 *   <!-- not run: why -->                      type-checked only
 *   <!-- asked: POST /chat {"a":"json body"} -->  when the module has been run it is asked this, over HTTP if it
 *                                              listens, else through its export of the method's name, else through
 *                                              the `fetch` of its default export; several in their order, with the
 *                                              cookies that were set before
 *   <!-- with: name: value -->                 a header of those requests, instead of "authorization: Bearer
 *                                              adas-token"; `{jwt}` in it is a token for "ada"
 *   <!-- on a page -->                         run as in a page of a host that knows the user: addresses without an
 *                                              origin lead to a handler there
 *   <!-- streams break -->                     the page's first two streams end before the first word
 * A module that waits for SIGTERM is told so when it has run. One that reads DATABASE_URL or REDIS_URL is run against an
 * engine with nothing in it, and a PGlite of its own directory gets one that goes with the test.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import ts from "typescript";

const root = resolve(import.meta.dirname, "..", "..");

export interface Page {
  /** From the repository's root. */
  readonly path: string;
  readonly text: string;
}

export interface Snippet {
  /** Page and line, for a report: `docs/runs.md:6`. */
  readonly name: string;
  readonly code: string;
  readonly notRun: string | undefined;
  readonly asked: readonly SnippetRequest[];
  readonly header: readonly [name: string, value: string];
  readonly onPage: boolean;
  readonly streamsBreak: boolean;
  readonly isTsx: boolean;
  /** The variables of the engines that it connects to. */
  readonly engines: readonly EngineVariable[];
}

export type EngineVariable = "DATABASE_URL" | "REDIS_URL";

export interface SnippetRequest {
  readonly method: string;
  readonly path: string;
  readonly body: string | undefined;
}

/** The readme and the guide; decisions are history and need not run any more. */
export function readPages(): Page[] {
  const guide = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
  return ["README.md", ...guide.map((name) => `docs/${name}`)].map(readPage);
}

export function readPage(path: string): Page {
  return { path, text: readFileSync(join(root, path), "utf8") };
}

const BLOCK = /((?:^<!--.*-->\n+)*)^```(tsx?)\n([\s\S]*?)^```$/gm;
const ASKED = /<!-- asked: (?<method>\w+) (?<path>\S+) ?(?<body>.*?) -->/g;

export function snippetsOf({ path, text }: Page): Snippet[] {
  return [...text.matchAll(BLOCK)].map(({ index, 1: comments = "", 2: language, 3: code = "" }) => {
    const line = text.slice(0, index + comments.length).split("\n").length + 1;
    const [, header = "authorization", value = "Bearer adas-token"] =
      /<!-- with: ([\w-]+): (.+?) -->/.exec(comments) ?? [];
    return {
      name: `${path}:${String(line)}`,
      code,
      notRun: language === "tsx" ? "a component" : /<!-- not run: (.+?) -->/.exec(comments)?.[1],
      asked: [...comments.matchAll(ASKED)].map(({ groups: { method = "", path = "", body } = {} }) => ({
        method,
        path,
        body: body || undefined,
      })),
      header: [header, value],
      onPage: comments.includes("<!-- on a page -->"),
      streamsBreak: comments.includes("<!-- streams break -->"),
      isTsx: language === "tsx",
      engines: (["DATABASE_URL", "REDIS_URL"] as const).filter((variable) => code.includes(variable)),
    };
  });
}

/** The source file of each of the package's entries, by the specifier that hosts import. */
function entries(): Map<string, string> {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    exports: Record<string, unknown>;
  };
  const names = Object.keys(exports).filter((name) => !name.endsWith(".json"));
  return new Map(
    names.map((name) => {
      const places = [`${name}/index.ts`, `store/${name}/index.ts`, `${name}.ts`];
      const source = places.map((place) => join(root, "src", place)).find((path) => existsSync(path));
      if (source === undefined) throw new Error(`No source of the entry "${name}"`);
      return [`agent-sessions${name.slice(1)}`, source];
    }),
  );
}

/** The AI SDK is installed in two versions, under names of their own. */
export function aliasesOf(version: 6 | 7): ReadonlyMap<string, string> {
  return new Map([
    ["ai", `ai${String(version)}`],
    ["@ai-sdk/react", `ai-sdk-react${String(version - 3)}`],
  ]);
}

function withAliases(code: string, aliases: ReadonlyMap<string, string>): string {
  return code.replace(/(from )"([^"]+)"/g, (_, before: string, name: string) => {
    return `${before}"${aliases.get(name) ?? name}"`;
  });
}

/** Snippets as files, beside which the repository's packages are found. */
export class SnippetFolder {
  readonly #folder: string;
  readonly #entries = entries();

  constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), "docs-snippets-"));
    symlinkSync(join(root, "node_modules"), join(this.#folder, "node_modules"), "dir");
    writeFileSync(join(this.#folder, "package.json"), '{ "type": "module" }');
    // Under this name the leak guard takes the timers of a snippet for the library's own.
    mkdirSync(join(this.#folder, "src"));
  }

  /** What the compiler says, by the snippet's name. One program for all: loading langchain's types takes most of it. */
  typeProblems(snippets: readonly Snippet[], aliases = aliasesOf(6)): Map<string, string[]> {
    const names = new Map(
      snippets.map(({ name, code, isTsx }) => [
        this.#write("checked", name, withAliases(code, aliases), isTsx ? "tsx" : "ts"),
        name,
      ]),
    );
    const program = ts.createProgram([...names.keys()], {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      moduleDetection: ts.ModuleDetectionKind.Force,
      strict: true,
      skipLibCheck: true,
      noEmit: true,
      types: ["node"],
      jsx: ts.JsxEmit.ReactJSX,
      lib: ["lib.es2023.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
      paths: Object.fromEntries([...this.#entries].map(([name, path]) => [name, [path]])),
    });
    const found = new Map<string, string[]>();
    for (const [file, name] of names) {
      const source = program.getSourceFile(file);
      const problems = [
        ...program.getSyntacticDiagnostics(source),
        ...program.getSemanticDiagnostics(source),
      ];
      if (problems.length > 0) found.set(name, problems.map(toLine));
    }
    return found;
  }

  /** A snippet ready to be imported: led to the sources, and with the values that its comments state put to the test. */
  executable(snippet: Snippet): string {
    const code = withStatedValues(withAliases(snippet.code, aliasesOf(6)))
      .replace(/((?:from|import) )"(agent-sessions[^"]*)"/g, (_, before: string, name: string) => {
        const source = this.#entries.get(name);
        if (source === undefined) throw new Error(`The package has no entry "${name}"`);
        return `${before}${JSON.stringify(source)}`;
      })
      .replace(/(\bdirectory: ")\.\//g, (_, before: string) => `${before}${this.#folder}/`)
      // The system chooses the port: that of the guide may be taken.
      .replace(/(\.listen\(|\bport: )\d+/g, "$10");
    return this.#write("src", snippet.name, code);
  }

  #write(folder: string, name: string, code: string, extension = "ts"): string {
    const file = join(this.#folder, folder, `${name.replaceAll(/[/:.]/g, "-")}.${extension}`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, code);
    return file;
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The function by which an executable snippet tells what a line gave and what its comment said. */
export const STATED = "__stated";

const VALUE = String.raw`("(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false)(?=$|:)`;
const PRINTED = new RegExp(String.raw`^(\s*)console\.log\((.+)\); // ${VALUE}.*$`, "gm");
const NAMED = new RegExp(String.raw`^(\s*const (?:\{ (\w+) \}|(\w+)) = .+;) // ${VALUE}.*$`, "gm");

/** `console.log(x); // "a value: why"` and `const { x } = …; // "a value"` become checks. */
function withStatedValues(code: string): string {
  return code
    .replace(
      PRINTED,
      (_, indent: string, expression: string, value: string) =>
        `${indent}${STATED}(${expression}, ${value});`,
    )
    .replace(
      NAMED,
      (_, line: string, inner: string | undefined, outer: string | undefined, value: string) =>
        `${line} ${STATED}(${inner ?? outer ?? ""}, ${value});`,
    );
}

function toLine({ messageText, file, start }: ts.Diagnostic): string {
  const text = ts.flattenDiagnosticMessageText(messageText, "\n");
  if (file === undefined || start === undefined) return text;
  const { line } = file.getLineAndCharacterOfPosition(start);
  return `line ${String(line + 1)}: ${text}`;
}

const LINK = /\[[^\]]*\]\(([^)\s]+)\)/g;

/** Links within the repository, as they are written. */
export function linksOf(page: Page): string[] {
  const prose = page.text.replace(/^```[\s\S]*?^```$/gm, "");
  return [...prose.matchAll(LINK)]
    .map(([, target = ""]) => target)
    .filter((target) => !/^[a-z]+:/.test(target));
}

/** Links within the repository that lead nowhere. */
export function brokenLinks(page: Page): string[] {
  return linksOf(page).flatMap((target) => {
    const [path = "", anchor] = target.split("#");
    const file = path === "" ? join(root, page.path) : resolve(root, dirname(page.path), path);
    if (path !== "" && !existsSync(file)) return [target];
    if (anchor === undefined) return [];
    const text = path === "" ? page.text : readFileSync(file, "utf8");
    return anchorsOf(text).has(anchor) ? [] : [target];
  });
}

/** The anchors that GitHub makes of headings. */
function anchorsOf(text: string): Set<string> {
  const headings = text.replace(/^```[\s\S]*?^```$/gm, "").matchAll(/^#+ (.+)$/gm);
  return new Set(
    [...headings].map(([, heading = ""]) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}
