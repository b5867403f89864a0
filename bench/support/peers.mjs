import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const at = (name) => fileURLToPath(new URL(`../peers/${name}`, import.meta.url));
const json = (file) => JSON.parse(readFileSync(file, "utf8"));

/** What is compared with, and its versions. */
export const peerVersions = () => json(at("package.json")).dependencies;

/**
 * Installs what to compare with, once; it has a lock file of its own and is no dependency of the package. `npm ci`
 * refuses a lock file that lacks the entries of other platforms, which npm leaves out where a registry does not have them;
 * `npm install --no-save` takes the versions of the lock file and leaves it as it is.
 */
export function installPeers(progress) {
  const installed = Object.entries(peerVersions()).every(([name, version]) => {
    const file = at(`node_modules/${name}/package.json`);
    return existsSync(file) && json(file).version === version;
  });
  if (installed) return;
  progress("installing what to compare with");
  const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
  execFileSync("npm", ["install", "--no-save", "--ignore-scripts", ...quiet], {
    cwd: at(""),
    stdio: ["ignore", "ignore", "inherit"],
  });
}
