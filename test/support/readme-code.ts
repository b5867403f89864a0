import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const readme = readFileSync(fileURLToPath(new URL("../../README.md", import.meta.url)), "utf8");

/** The code that README.md tells a newcomer to save under this name: the first block after it. */
export function readmeFile(name: string): string {
  const named = readme.indexOf(`\`${name}\``);
  const code = named < 0 ? undefined : /^```tsx?\n([\s\S]*?)^```$/m.exec(readme.slice(named))?.[1];
  if (code === undefined) throw new Error(`README.md shows no ${name}.`);
  return code;
}

/** What README.md tells to send: the headers and the body of its `curl`. */
export function readmeRequest(): RequestInit & { readonly path: string } {
  const command = /^curl -N localhost:3000(\S+)([\s\S]*?)^```$/m.exec(readme);
  const [, path = "", rest = ""] = command ?? [];
  const headers = [...rest.matchAll(/-H '([\w-]+): ([^']*)'/g)].map(([, name = "", value = ""]) => [
    name,
    value,
  ]);
  const body = /-d '([^']*)'/.exec(rest)?.[1];
  if (body === undefined) throw new Error("README.md sends nothing.");
  return { path, method: "POST", headers: Object.fromEntries(headers) as Record<string, string>, body };
}

/** The same code with the model that README.md names for those without a key. */
export function withoutKey(code: string): string {
  const model = /`(\{ model: new ScriptedChatModel\(.*?\) \})` \(of `(agent-sessions\/testing)`\)/.exec(
    readme,
  );
  const named = '{ provider: "openai", model: "gpt-4.1-mini" }';
  if (model === null || !code.includes(named)) throw new Error("README.md names no model that needs no key.");
  return `import { ScriptedChatModel } from "${model[2] ?? ""}";\n${code.replace(named, model[1] ?? "")}`;
}
