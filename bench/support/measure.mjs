import { createRequire } from "node:module";
import os from "node:os";

/** Of an even number of values the mean of the two in the middle: with two rounds neither is left out. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[upper] : (sorted[upper - 1] + sorted[upper]) / 2;
}

export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** The median and the quartiles around it. */
export function quartiles(values) {
  return { median: median(values), low: percentile(values, 0.25), high: percentile(values, 0.75) };
}

/** A 95 % interval of the median ratio of pairs, by the bootstrap. */
export function medianRatioInterval(pairs, rounds = 1000) {
  const ratios = pairs.map(([a, b]) => a / b);
  const medians = [];
  for (let round = 0; round < rounds; round += 1) {
    medians.push(median(ratios.map(() => ratios[Math.floor(Math.random() * ratios.length)])));
  }
  return { median: median(ratios), low: percentile(medians, 0.025), high: percentile(medians, 0.975) };
}

/** Milliseconds of CPU (user and system) and of wall clock that `work` took. */
export async function timed(work) {
  const cpu = process.cpuUsage();
  const from = performance.now();
  await work();
  const wall = performance.now() - from;
  const used = process.cpuUsage(cpu);
  return { cpu: (used.user + used.system) / 1000, wall };
}

/** Runs contestants in turn, A B A B …, so that drift of the machine's speed hits both alike. */
export async function alternate(rounds, contestants) {
  const samples = contestants.map(() => []);
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, contestant] of contestants.entries()) samples[index].push(await contestant(round));
  }
  return samples;
}

export async function heapUsed() {
  if (globalThis.gc === undefined) throw new Error("Start node with --expose-gc");
  for (let round = 0; round < 3; round += 1) {
    globalThis.gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().heapUsed;
}

/** What a result depends on: versions and machine. */
export function environment() {
  const require = createRequire(import.meta.url);
  const version = (name) => {
    try {
      return require(`${name}/package.json`).version;
    } catch {
      return "?";
    }
  };
  return {
    node: process.version,
    langgraph: version("@langchain/langgraph"),
    langchain: version("langchain"),
    core: version("@langchain/core"),
    cpu: `${os.cpus().length} x ${os.cpus()[0]?.model.trim() ?? "?"}`,
    date: new Date().toISOString().slice(0, 10),
  };
}
