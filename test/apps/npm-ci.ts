import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

const NO_NETWORK = /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH)\b/;
const OPTIONS = ["--no-audit", "--no-fund", "--prefer-offline"];

/**
 * Installs what a folder's lockfile says, then runs npm again for each of `more`. Gives whether it could: false when
 * the registry cannot be reached, which in CI is an error.
 */
export async function npmCi(
  folder: string,
  options: readonly string[] = [],
  ...more: readonly (readonly string[])[]
): Promise<boolean> {
  try {
    for (const args of [["ci", ...options], ...more])
      await run("npm", [...args, ...OPTIONS], { cwd: folder });
    return true;
  } catch (error) {
    if (process.env["CI"] === undefined && NO_NETWORK.test(String(error))) return false;
    throw error;
  }
}
