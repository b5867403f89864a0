/** What is installed for some packages: the packages themselves, and all that they need, as Node finds it from them. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

/**
 * Number and bytes of the packages that `names` need in production, themselves included, in the project at `root`; a
 * project can be among them by its own name. Peers that are not optional are needed too, unless `peers` is false.
 */
export function closureOf(root, names, { peers = true } = {}) {
  const own = manifest(root);
  const seen = new Map(); // folder -> bytes
  const direct = new Set();
  const visit = (folder, from) => {
    if (seen.has(folder)) return;
    seen.set(folder, folder === root ? 0 : bytesOf(folder));
    const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta } = manifest(folder);
    const wanted = { ...dependencies, ...optionalDependencies };
    if (peers) {
      for (const [name, version] of Object.entries(peerDependencies ?? {})) {
        if (peerDependenciesMeta?.[name]?.optional !== true) wanted[name] = version;
      }
    }
    for (const name of Object.keys(wanted)) {
      const found = find(folder, name);
      // Binaries of other platforms are not here.
      if (found === undefined) continue;
      if (from === undefined) direct.add(name);
      visit(found, folder);
    }
  };
  for (const name of names) {
    const folder = name === own.name ? root : find(root, name);
    if (folder === undefined) throw new Error(`${name} is not installed in ${root}`);
    visit(folder);
  }
  const published = names.includes(own.name) ? bytesOfFiles(root, own.files) : 0;
  return {
    packages: seen.size,
    bytes: [...seen.values()].reduce((sum, bytes) => sum + bytes, published),
    direct: [...direct],
  };
}

const manifest = (folder) => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));

function find(from, name) {
  for (let folder = from; ; folder = dirname(folder)) {
    const found = join(folder, "node_modules", name);
    if (existsSync(join(found, "package.json"))) return found;
    if (folder === dirname(folder)) return undefined;
  }
}

/** Without the packages inside of it, which are counted as their own. */
function bytesOf(folder) {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name === "node_modules") continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) bytes += bytesOf(path);
    else if (entry.isFile()) bytes += statSync(path).size;
  }
  return bytes;
}

function bytesOfFiles(root, files) {
  // The folders alone: what the package publishes beside them is text of a few KB.
  return files
    .map((name) => join(root, name))
    .filter((path) => existsSync(path) && statSync(path).isDirectory())
    .reduce((sum, path) => sum + bytesOf(path), 0);
}
