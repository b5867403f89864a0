/*
 * The guide's code: every ```ts block of README.md and docs/*.md as a module of its own, type-checked as a stranger
 * with a usual tsconfig would see it, and run against the sources.
 *
 * An HTML comment before a block says what differs:
 *   <!-- not run: why -->                      type-checked only
 *   <!-- asked: POST /chat {"a":"json body"} -->  when the module has been run it is asked this, over HTTP if it
 *                                              listens, else through its export of the method's name
 * Requests come with the token "adas-token". A module that waits for SIGTERM is told so when it has run.
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
  readonly asked: SnippetRequest | undefined;
}

export interface SnippetRequest {
  readonly method: string;
  readonly path: string;
  readonly body: string | undefined;
}

/** The readme and the guide; decisions are history and need not run any more. */
export function readPages(): Page[] {
  const guide = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
  return ["README.md", ...guide.map((name) => `docs/${name}`)].map((path) => ({
    path,
    text: readFileSync(join(root, path), "utf8"),
  }));
}

const BLOCK = /((?:^<!--.*-->\n+)*)^```ts\n([\s\S]*?)^```$/gm;

export function snippetsOf({ path, text }: Page): Snippet[] {
  return [...text.matchAll(BLOCK)].map(({ index, 1: comments = "", 2: code = "" }) => {
    const line = text.slice(0, index + comments.length).split("\n").length + 1;
    const asked = /<!-- asked: (\w+) (\S+) ?(.*?) -->/.exec(comments);
    return {
      name: `${path}:${String(line)}`,
      code,
      notRun: /<!-- not run: (.+?) -->/.exec(comments)?.[1],
      asked:
        asked?.[1] === undefined
          ? undefined
          : { method: asked[1], path: asked[2] ?? "/", body: asked[3] || undefined },
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
      const folder = join(root, "src", name, "index.ts");
      return [
        `agent-sessions${name.slice(1)}`,
        existsSync(folder) ? folder : join(root, "src", `${name}.ts`),
      ];
    }),
  );
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
  typeProblems(snippets: readonly Snippet[]): Map<string, string[]> {
    const names = new Map(
      snippets.map((snippet) => [this.#write("checked", snippet.name, snippet.code), snippet.name]),
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
    const code = withStatedValues(snippet.code)
      .replace(/((?:from|import) )"(agent-sessions[^"]*)"/g, (_, before: string, name: string) => {
        const source = this.#entries.get(name);
        if (source === undefined) throw new Error(`The package has no entry "${name}"`);
        return `${before}${JSON.stringify(source)}`;
      })
      // The system chooses the port: that of the guide may be taken.
      .replace(/\.listen\(\d+/g, ".listen(0");
    return this.#write("src", snippet.name, code);
  }

  #write(folder: string, name: string, code: string): string {
    const file = join(this.#folder, folder, `${name.replaceAll(/[/:.]/g, "-")}.ts`);
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

/** Links within the repository that lead nowhere. */
export function brokenLinks(page: Page): string[] {
  const prose = page.text.replace(/^```[\s\S]*?^```$/gm, "");
  return [...prose.matchAll(LINK)].flatMap(([, target = ""]) => {
    if (/^[a-z]+:/.test(target)) return [];
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
