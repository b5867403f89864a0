/*
 * Faults at random times under load, for `FAULTS_SECONDS` per engine, from `FAULTS_SEED` (printed; timing makes no two
 * runs alike, but the same faults come in the same order). `npm run soak` runs this for as long as asked.
 *
 * Users chat and judge what they get: each answer whole, each message once in the history. What each run cost is costs
 * by its attempts: one that was begun n times may have done n - 1 model calls, and as many effects of a tool, in vain.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { RunEvent, RunInfo } from "../../../src/index.js";
import { random } from "../../support/chat.js";
import type { NetworkProxy } from "../../support/engines/index.js";
import { LEASE_MS, type Cluster, type SessionRef, type Turn } from "./cluster.js";
import type { EngineUnderTest } from "./on-each-engine.js";
import { answerOf, type Program } from "./protocol.js";
import { lastTextOf } from "./reading.js";
import type { EffectRecord } from "./records.js";
import type { WorkerProcess } from "./worker-process.js";

const SECONDS = Number(process.env["FAULTS_SECONDS"] ?? 60);
const SEED = Number(process.env["FAULTS_SEED"] ?? Date.now() % 1_000_000);
const WORKERS = 3;
const QUIET_USERS = 8;
const RASH_USERS = 3;
/** Users whose turns are rolled back: their conversations are put back, which else would be a fault. */
const UNDOING_USERS = 2;
const UNDOING = 300;
/** How far the clocks of workers are from the engine's at most. */
const SKEW_MS = 1_500;

type Random = () => number;

interface Node {
  readonly worker: WorkerProcess;
  readonly network: NetworkProxy;
}

function between(next: Random, from: number, to: number): number {
  return from + Math.floor(next() * (to - from));
}

function pick<T>(next: Random, from: readonly T[]): T {
  return from[Math.floor(next() * from.length)]!;
}

function programFor(next: Random, run: string): Program {
  const rounds = Array.from({ length: between(next, 0, 3) }, () =>
    pick(next, [["alpha"], ["beta"], ["alpha", "beta"]]),
  );
  return next() < 0.5 ? { run, rounds } : { run, rounds, words: between(next, 10, 40), slowMs: 20 };
}

/** Sends one message after the other, and knows what must come of each. */
async function quietUser(
  cluster: Cluster,
  next: Random,
  name: string,
  goesOn: () => boolean,
): Promise<string[]> {
  const session = { sessionId: "s", userId: name };
  const said: Program[] = [];
  while (goesOn()) {
    if (next() < 0.2) {
      const program: Program = { run: `${name}-${String(said.length)}`, rounds: [["ask"]] };
      said.push(program);
      await askedAndAnswered(cluster, session, program);
      continue;
    }
    // Sometimes two at once: the second waits its turn.
    const turns = Array.from({ length: next() < 0.3 ? 2 : 1 }, (_, index) =>
      programFor(next, `${name}-${String(said.length + index)}`),
    );
    for (const program of turns) {
      await cluster.send({ ...session, runId: program.run, program });
      said.push(program);
    }
    for (const program of turns) await expectAnswer(cluster, session, program);
    await sleep(between(next, 0, 100));
  }
  return said.map(({ run }) => run);
}

async function expectAnswer(
  cluster: Cluster,
  session: SessionRef,
  program: Program,
  runId = program.run,
): Promise<void> {
  const events = await cluster.read({ ...session, runId });
  expect([runId, events.at(-1)]).toEqual([
    runId,
    expect.objectContaining({ type: "run-finished", outcome: "completed" }),
  ]);
  if (lastTextOf(events) !== answerOf(program)) throw new Error(`An answer is not whole: ${shown(events)}`);
}

/** The id of the run that answers a turn's question. */
function answersTo(runId: string): string {
  return `${runId} answers`;
}

/** A turn that asks its user, and goes on with the answer wherever that is given. */
async function askedAndAnswered(cluster: Cluster, session: SessionRef, program: Program): Promise<void> {
  const asking = { ...session, runId: program.run };
  await cluster.send({ ...asking, program });
  expect([program.run, (await cluster.read(asking)).at(-1)]).toEqual([
    program.run,
    expect.objectContaining({ type: "run-finished", outcome: "interrupted" }),
  ]);
  const { interrupts } = await cluster.ask<RunInfo>("getRun", asking);
  const answers = Object.fromEntries(interrupts.map(({ id }) => [id, "Yes"]));
  await cluster.ask("resume", { ...session, runId: answersTo(program.run), answers });
  await expectAnswer(cluster, session, program, answersTo(program.run));
}

function shown(events: readonly RunEvent[]): string {
  return events.map(({ type, ...rest }) => `${type} ${JSON.stringify(rest)}`).join("\n");
}

/** Interrupts, undoes, cancels, deletes and evicts: of each run it knows only that it ends, once. */
async function rashUser(
  cluster: Cluster,
  next: Random,
  name: string,
  policies: readonly NonNullable<Turn["onBusy"]>[],
  goesOn: () => boolean,
): Promise<void> {
  const session = { sessionId: "s", userId: name };
  for (let count = 0; goesOn(); count++) {
    const runId = `${name}-${String(count)}`;
    const onBusy = pick(next, policies);
    const sent = await cluster
      .send({ ...session, runId, program: programFor(next, runId), onBusy })
      .then(() => true)
      // It may be deleting the session just now.
      .catch((error: unknown) => {
        refusedAs(error, "SESSION_NOT_FOUND", "SESSION_BUSY");
        return false;
      });
    if (!sent) continue;
    const reading = cluster.read({ ...session, runId });
    const end = reading.then(
      (events) => {
        expect(events.filter(({ type }) => type === "run-finished")).toEqual([events.at(-1)]);
        expect(["completed", "cancelled"]).toContain((events.at(-1) as { outcome: string }).outcome);
      },
      (error: unknown) => {
        // Its session was deleted, and may have begun anew.
        refusedAs(error, "RUN_NOT_FOUND", "EVENTS_TRIMMED");
      },
    );
    await sleep(between(next, 0, 400));
    const what = next();
    if (what < 0.3) await act(cluster, "cancel", { ...session, runId });
    else if (what < 0.4) await act(cluster, "deleteSession", session);
    else if (what < 0.55) await act(cluster, "removeAgent", session);
    if (what < 0.8) await end;
    else void end.catch(() => undefined);
  }
}

async function act(cluster: Cluster, method: string, args: SessionRef & { runId?: string }): Promise<void> {
  await cluster.ask(method, args).catch((error: unknown) => {
    refusedAs(error, "RUN_NOT_FOUND");
  });
}

/** Throws an error on unless it is one of these refusals. */
function refusedAs(error: unknown, ...codes: string[]): void {
  if (!codes.includes((error as { readonly code?: string }).code ?? "")) throw error;
}

/** One fault after the other, with their consequences under way when the next comes. */
async function misfortune(
  engine: EngineUnderTest,
  cluster: Cluster,
  nodes: Node[],
  next: Random,
  goesOn: () => boolean,
): Promise<string[]> {
  const done: string[] = [];
  const replace = async (node: Node): Promise<void> => {
    nodes.splice(nodes.indexOf(node), 1);
    nodes.push(await cluster.addBehindProxy({ clockAheadMs: between(next, -SKEW_MS, SKEW_MS) }));
  };
  const faults: Readonly<Record<string, (node: Node) => Promise<void>>> = {
    async kill(node) {
      await node.worker.kill();
      await replace(node);
    },
    async terminate(node) {
      await Promise.all([node.worker.terminate(), replace(node)]);
    },
    async stop({ worker }) {
      await worker.pause();
      await sleep(between(next, LEASE_MS / 4, LEASE_MS * 2));
      await worker.resume();
    },
    async cut({ network }) {
      network.cut();
      await sleep(between(next, 100, LEASE_MS * 1.5));
      network.open();
    },
    async swallow({ network }) {
      network.swallow();
      await sleep(between(next, 100, LEASE_MS * 1.5));
      network.open();
    },
    async slow({ network }) {
      network.delay(between(next, 5, 100));
      await sleep(between(next, 500, LEASE_MS));
      network.delay(0);
    },
    async crash() {
      await engine.server.kill();
      await sleep(between(next, 0, LEASE_MS));
      await engine.server.restart();
    },
    async freeze() {
      await engine.server.pause();
      await sleep(between(next, 0, LEASE_MS * 1.5));
      await engine.server.resume();
    },
  };
  const names = ["kill", "kill", "terminate", "stop", "stop", "cut", "swallow", "slow", "crash", "freeze"];
  while (goesOn()) {
    const name = pick(next, names);
    const node = pick(next, nodes);
    done.push(`${name} ${node.worker.name}`);
    await faults[name]!(node);
    await sleep(between(next, 200, 1_200));
  }
  return done;
}

/** The test. Each engine has a file of its own, so that both take their time at once. */
export function underRandomFaults(engine: EngineUnderTest): void {
  test(
    `seed ${String(SEED)}, ${String(SECONDS)} s: whole answers, single messages, no work in vain, the invariants`,
    async () => {
      const undoing = Array.from({ length: UNDOING_USERS }, (_, index) => `u.u${String(UNDOING + index)}.s`);
      const cluster = await engine.cluster(0, {
        workers: { drainMs: 1_000, gates: false },
        history: { rolledBack: new Set(undoing) },
      });
      const nodes = await Promise.all(Array.from({ length: WORKERS }, () => cluster.addBehindProxy()));
      const end = performance.now() + SECONDS * 1_000;
      let failed = false;
      const goesOn = (): boolean => performance.now() < end && !failed;
      const watched = async <T>(work: Promise<T>): Promise<T> => {
        try {
          return await work;
        } catch (error) {
          failed = true;
          throw error;
        }
      };
      const users = (count: number, seed: number, user: (next: Random, name: string) => Promise<unknown>) =>
        Array.from({ length: count }, (_, index) =>
          watched(user(random(SEED + seed + index), `u${String(seed + index)}`)),
        );
      const said = users(QUIET_USERS, 100, (next, name) => quietUser(cluster, next, name, goesOn));
      const rash = users(RASH_USERS, 200, (next, name) =>
        rashUser(cluster, next, name, ["enqueue", "interrupt", "reject"], goesOn),
      );
      const undone = users(UNDOING_USERS, UNDOING, (next, name) =>
        rashUser(cluster, next, name, ["enqueue", "rollback"], goesOn),
      );
      const faults = watched(misfortune(engine, cluster, nodes, random(SEED), goesOn));
      const all = Promise.all([...said, ...rash, ...undone]);
      try {
        await all;
      } catch (error) {
        console.log(`what workers told of errors:\n${errorsOf(cluster).join("\n")}`);
        throw error;
      } finally {
        console.log(`seed ${String(SEED)}, faults: ${(await faults).join(", ")}`);
      }

      const costs = new Costs(cluster);
      let turns = 0;
      for (const [index, runs] of ((await Promise.all(said)) as string[][]).entries()) {
        turns += runs.length;
        const history = await cluster.history({ sessionId: "s", userId: `u${String(100 + index)}` });
        expect(history.filter(({ role }) => role === "user").map(({ id }) => id)).toEqual(runs);
        for (const runId of runs) expect(costs.waste(runId)).toEqual([]);
      }
      console.log(`${String(turns)} turns of quiet users, ${String(cluster.model.calls.length)} model calls`);
      expect(turns).toBeGreaterThan(QUIET_USERS);
    },
    (SECONDS + 240) * 1_000,
  );
}

/** The last errors that workers told their hosts of. */
function errorsOf(cluster: Cluster): string[] {
  return cluster
    .records()
    .filter((line) => line.kind === "note" && line.event === "error")
    .slice(-30)
    .map((line) => JSON.stringify(line));
}

/** What runs cost, from what was recorded outside of them. */
class Costs {
  readonly #attempts = new Map<string, Set<number | undefined>>();
  readonly #effects = new Map<string, EffectRecord[]>();
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    for (const line of cluster.records()) {
      if (line.kind === "effect") listIn(this.#effects, line.runId).push(line);
      if (line.kind !== "step" || line.step !== "claim" || line.runId === undefined) continue;
      const epochs = this.#attempts.get(line.runId) ?? new Set();
      this.#attempts.set(line.runId, epochs.add(line.epoch));
    }
  }

  /** What a run did more often than its attempts allow. */
  waste(runId: string): string[] {
    const inVain = [runId, answersTo(runId)].reduce(
      (sum, id) => sum + Math.max(0, (this.#attempts.get(id)?.size ?? 0) - 1),
      0,
    );
    const calls = this.#cluster.modelCalls(runId);
    const extra = calls.reduce((sum, count) => sum + count, 0) - calls.length;
    const waste =
      extra > inVain
        ? [`${runId}: ${String(extra)} model calls in vain, ${String(inVain)} more attempts`]
        : [];
    const byKey = new Map<string, EffectRecord[]>();
    for (const effect of listIn(this.#effects, runId)) listIn(byKey, effect.key ?? "").push(effect);
    for (const [key, effects] of byKey)
      if (effects.length - 1 > inVain)
        waste.push(`${key}: ${String(effects.length)} effects in ${String(inVain + 1)} attempts`);
    return waste;
  }
}

function listIn<T>(lists: Map<string, T[]>, key: string): T[] {
  const list = lists.get(key) ?? [];
  lists.set(key, list);
  return list;
}
