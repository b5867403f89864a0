import { execFile, spawn, type ChildProcess, type SpawnOptions } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { pack } from "../package/pack.js";
import { npmCi } from "./npm-ci.js";

const run = promisify(execFile);
const example = fileURLToPath(new URL("../../examples/next", import.meta.url));

/** Ends a child when whoever started it is gone, however that ended. */
const TIED = [
  "--import",
  "data:text/javascript,process.stdin.resume().on('end',()=>process.exit()).on('error',()=>process.exit()).unref?.()",
];

/** The example, installed from the packed package and built, served by `next start`. */
export class NextApp {
  readonly url: string;
  readonly #scratch: string;
  readonly #directory: string;
  readonly #servers: ChildProcess[] = [];

  private constructor(url: string, server: ChildProcess, scratch: string, directory: string) {
    this.url = url;
    this.#servers.push(server);
    this.#scratch = scratch;
    this.#directory = directory;
  }

  /**
   * Undefined when the registry cannot be reached, which in CI is an error.
   *
   * @param version of Next.js, in place of the example's own
   */
  static async start(version?: string): Promise<NextApp | undefined> {
    const scratch = mkdtempSync(join(tmpdir(), "agent-sessions-next-"));
    const remove = (): void => {
      rmSync(scratch, { recursive: true, force: true });
    };
    process.once("exit", remove);
    try {
      const directory = await install(scratch, version);
      if (directory === undefined) {
        remove();
        return undefined;
      }
      await build(directory);
      const { url, server } = await serve(directory, "start");
      return new NextApp(url, server, scratch, directory);
    } catch (error) {
      remove();
      throw error;
    }
  }

  /** Logs in as the page does without scripts, and gives the cookie. */
  async login(name: string): Promise<string> {
    const page = await (await fetch(this.url)).text();
    const action = /name="(\$ACTION_ID_\w+)"/.exec(page)?.[1];
    if (action === undefined) throw new Error("The page has no form to log in.");
    const form = new FormData();
    form.set(action, "");
    form.set("name", name);
    const answer = await fetch(this.url, { method: "POST", body: form, redirect: "manual" });
    const [cookie] = answer.headers.getSetCookie();
    if (cookie === undefined) throw new Error(`Login answered ${String(answer.status)} and no cookie.`);
    return cookie.split(";", 1)[0] ?? "";
  }

  /** Serves it by `next dev` as well, and gives the address. */
  async develop(): Promise<string> {
    const { url, server } = await serve(this.#directory, "dev");
    this.#servers.push(server);
    return url;
  }

  /** Serves an app of these files alone by `next dev`, with the packages of the example, and gives the address. */
  async developNew(files: Readonly<Record<string, string>>, env: NodeJS.ProcessEnv): Promise<string> {
    const folder = mkdtempSync(join(this.#directory, "new-"));
    const own = {
      "package.json": '{ "private": true }',
      // Only since the packages lie outside the folder, where Next would not look.
      "next.config.mjs": `export default { turbopack: { root: ${JSON.stringify(this.#directory)} } };`,
    };
    for (const [path, text] of Object.entries({ ...own, ...files })) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    const { url, server } = await serve(this.#directory, "dev", { folder, env });
    this.#servers.push(server);
    return url;
  }

  /** Changes a file as an editor would. */
  edit(path: string, change: (text: string) => string): void {
    const file = join(this.#directory, path);
    writeFileSync(file, change(readFileSync(file, "utf8")));
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#servers.map(async (server) => {
        if (server.exitCode !== null || server.signalCode !== null) return;
        const ended = new Promise((resolve) => server.once("close", resolve));
        server.kill();
        // A server that is still compiling does not listen.
        const impatience = setTimeout(() => server.kill("SIGKILL"), 10_000);
        await ended;
        clearTimeout(impatience);
      }),
    );
    rmSync(this.#scratch, { recursive: true, force: true });
  }
}

/** Lays the example beside the unpacked package, as it lies in the repository: its lockfile holds as it is. */
async function install(scratch: string, version?: string): Promise<string | undefined> {
  const tarball = process.env["AGENT_SESSIONS_TARBALL"] ?? pack(scratch);
  await run("tar", ["-xzf", tarball, "-C", scratch, "--strip-components=1"]);
  const app = join(scratch, "examples", "next");
  mkdirSync(join(scratch, "examples"));
  const left = new Set(["node_modules", ".next"]);
  cpSync(example, app, { recursive: true, filter: (path) => !left.has(basename(path)) });
  const other = version === undefined ? [] : [["install", "--no-save", `next@${version}`]];
  return (await npmCi(app, [], ...other)) ? app : undefined;
}

interface Place {
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
}

function next(app: string, args: readonly string[], place: Place = { folder: app, env: {} }): ChildProcess {
  const env: NodeJS.ProcessEnv = { ...process.env, NEXT_TELEMETRY_DISABLED: "1" };
  // Next sets the mode by its command; the runner's would be wrong, and the tester's key would cost money.
  for (const name of ["NODE_ENV", "OPENAI_API_KEY", "NODE_OPTIONS"]) Reflect.deleteProperty(env, name);
  Object.assign(env, place.env);
  const options: SpawnOptions = { cwd: place.folder, env, stdio: ["pipe", "pipe", "pipe"] };
  return spawn(process.execPath, [...TIED, join(app, "node_modules/next/dist/bin/next"), ...args], options);
}

function outputOf(child: ChildProcess, onText: (all: string) => void = () => {}): () => string {
  let all = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      all += text;
      onText(all);
    });
  }
  return () => all;
}

async function build(app: string): Promise<void> {
  const child = next(app, ["build"]);
  const output = outputOf(child);
  const code = await new Promise((resolve) => child.once("close", resolve));
  if (code !== 0) throw new Error(`\`next build\` ended with ${String(code)}:\n${output()}`);
  // Optional packages that are not there must not show in a host's build.
  if (/Module not found|Can't resolve|Critical dependency/.test(output()))
    throw new Error(`\`next build\` warns:\n${output()}`);
}

function serve(
  app: string,
  command: "start" | "dev",
  place?: Place,
): Promise<{ url: string; server: ChildProcess }> {
  const server = next(app, [command, "--port", "0", "--hostname", "localhost"], place);
  return new Promise((resolve, reject) => {
    const output = outputOf(server, (all) => {
      const port = /http:\/\/[\w.]+:([1-9]\d*)/.exec(all)?.[1];
      if (port !== undefined && all.includes("Ready")) resolve({ url: `http://localhost:${port}`, server });
    });
    server.once("close", (code) => {
      reject(new Error(`\`next ${command}\` ended with ${String(code)}:\n${output()}`));
    });
  });
}
