// Packs the package as npm would publish it and has publint and "are the types wrong" look at the tarball.
// AGENT_SESSIONS_TARBALL names one that was packed before.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "agent-sessions-check-"));
const run = (command, args) =>
  execFileSync(command, args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

function pack() {
  run("npm", ["pack", "--silent", "--pack-destination", scratch]);
  return join(scratch, readdirSync(scratch)[0]);
}

try {
  const tarball = process.env.AGENT_SESSIONS_TARBALL ?? pack();
  process.stdout.write(run("npx", ["publint", "run", tarball, "--strict"]));
  process.stdout.write(run("npx", ["attw", tarball, "--no-emoji"]));
} catch (error) {
  process.stdout.write(error.stdout ?? `${error}\n`);
  process.exitCode = 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
