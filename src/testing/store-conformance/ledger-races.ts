import type { Claim, ClaimRequest, RunRecord } from "../../store/store.js";
import { rulesOf, times, type Bench } from "./bench.js";
import {
  acceptedOf,
  attemptOf,
  expectEqual,
  expectLike,
  expectSameItems,
  expectThat,
} from "./expectations.js";
import { answers, completion, submission, threadOf } from "./requests.js";

/** Fewer than the finished runs that a session is sure to keep. */
const RACERS = 16;
const ROUNDS = 8;
const thread = threadOf("s");

/** Two processes, taken in turn. */
async function pair(bench: Bench): Promise<(index: number) => Bench> {
  const other = await bench.other();
  return (index) => (index % 2 === 0 ? bench : other);
}

/** Claims through both processes at once until `count` runs have been handed out, or nothing comes any more. */
async function claimRacing(
  bench: Bench,
  count: number,
  changes: Partial<ClaimRequest> = {},
): Promise<Claim[]> {
  const of = await pair(bench);
  const claims: Claim[] = [];
  for (let idle = 0; claims.length < count && idle < 3;) {
    const batch = await times(RACERS, (i) =>
      of(i).tryClaim({ processId: `process-${String(i)}`, ...changes }),
    );
    const got = batch.filter((claimed) => claimed !== undefined);
    claims.push(...got);
    idle = got.length === 0 ? idle + 1 : 0;
  }
  return claims;
}

function runIdsOf(claims: readonly Claim[]): string[] {
  return claims.map((claimed) => claimed.run.runId);
}

function named(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${String(i)}`);
}

/** Many writers at once, through two stores on the same data. */
export const raceRules = rulesOf(["runs"], {
  "ledger: of racing runs under reject exactly one is accepted": async (bench) => {
    const of = await pair(bench);
    for (let round = 0; round < ROUNDS; round++) {
      const id = `s${String(round)}`;
      const results = await times(RACERS, (i) =>
        attemptOf(() => of(i).submit(id, `r${String(i)}`, { onBusy: "reject" })),
      );
      const accepted = acceptedOf(results, ["SESSION_BUSY"], "a run under `reject`");
      expectEqual(accepted.length, 1, "the number of runs that were accepted");
      expectEqual((await bench.session(id))?.queued, 1, "the number of runs that wait");
    }
  },

  "ledger: racing submits under one run id create it once": async (bench) => {
    const of = await pair(bench);
    for (let round = 0; round < ROUNDS; round++) {
      const id = `s${String(round)}`;
      const results = await times(RACERS, (i) => of(i).runs.submit(submission(id, "a")));
      expectEqual(results.filter((result) => result.created).length, 1, "how many created the run");
      expectEqual((await bench.session(id))?.queued, 1, "the number of runs that wait");
    }
    expectEqual((await bench.claimAll()).length, ROUNDS, "the number of runs that are claimed");
  },

  "ledger: racing submits with different requests under one run id accept one of them": async (bench) => {
    const of = await pair(bench);
    const results = await times(RACERS, (i) =>
      attemptOf(() => of(i).runs.submit(submission("s", "a", { fingerprint: String(i) }))),
    );
    const accepted = acceptedOf(results, ["RUN_ID_CONFLICT"], "a run under a contested id");
    expectEqual(accepted.length, 1, "the number of runs that were accepted");
    expectEqual(accepted[0]?.run.fingerprint, (await bench.get("s", "a"))?.fingerprint, "the stored request");
  },

  "ledger: runs that race into one session start in an order that each submitter would expect": async (
    bench,
  ) => {
    const of = await pair(bench);
    // Each submitter waits for one run to be accepted before it submits the next.
    const submitters = await times(4, async (i) => {
      const own = named(`submitter${String(i)}-`, 6);
      for (const runId of own) await of(i).submit("s", runId);
      return own;
    });
    const order: string[] = [];
    for (let next = await bench.tryClaim(); next !== undefined; next = await bench.tryClaim()) {
      order.push(next.run.runId);
      await bench.finish(next);
    }
    expectSameItems(order, submitters.flat(), "the runs that were claimed");
    for (const own of submitters) {
      const seen = order.filter((runId) => own.includes(runId));
      expectEqual(seen, own, "the order in which a submitter's runs started");
    }
  },

  "ledger: racing submits keep the queue limit": async (bench) => {
    const of = await pair(bench);
    const results = await times(RACERS, (i) =>
      attemptOf(() => of(i).submit("s", `r${String(i)}`, { queueLimit: 5 })),
    );
    const accepted = acceptedOf(results, ["QUEUE_FULL"], "a run");
    expectEqual(accepted.length, 6, "the number of runs that were accepted with a queue limit of 5");
    expectEqual((await bench.session("s"))?.queued, 6, "the number of runs that wait");
  },

  "ledger: racing submits keep the total queue limit": async (bench) => {
    const of = await pair(bench);
    const results = await times(RACERS, (i) =>
      attemptOf(() => of(i).submit(`s${String(i)}`, "a", { totalQueueLimit: 6 })),
    );
    const accepted = acceptedOf(results, ["QUEUE_FULL"], "a run");
    expectEqual(accepted.length, 6, "the number of runs that were accepted with a total limit of 6");
    expectEqual((await bench.claimAll()).length, 6, "the number of runs that are claimed");
  },

  "ledger: config patches that race all stick": async (bench) => {
    const of = await pair(bench);
    const keys = named("key", RACERS);
    await times(RACERS, (i) => of(i).submit("s", `r${String(i)}`, { configPatch: { [keys[i] ?? ""]: i } }));
    const wanted = Object.fromEntries(keys.map((name, i) => [name, i]));
    expectEqual((await bench.session("s"))?.config, wanted, "what sticks to the session");
    let known = 0;
    for (let next = await bench.tryClaim(); next !== undefined; next = await bench.tryClaim()) {
      const size = Object.keys(next.run.config).length;
      expectThat(
        size === ++known,
        `the config of run ${String(known)} to have as many keys`,
        next.run.config,
      );
      await bench.finish(next);
    }
  },

  "ledger: racing claims hand each run out once": async (bench) => {
    const runIds = named("r", 40);
    await times(runIds.length, (i) => bench.submit(`s${String(i)}`, runIds[i] ?? ""));
    const claims = await claimRacing(bench, runIds.length);
    expectSameItems(runIdsOf(claims), runIds, "the runs that were handed out");
    const owners = new Set(claims.map((claimed) => claimed.lease.owner));
    expectEqual(owners.size, runIds.length, "the number of owners");
  },

  "ledger: racing claims hand out one run of a session at a time": async (bench) => {
    for (const runId of ["a", "b", "c", "d"]) await bench.submit("s", runId);
    const order: string[] = [];
    for (let round = 0; round < 4; round++) {
      const claims = await claimRacing(bench, 2);
      expectEqual(claims.length, 1, "the number of runs of one session that were handed out at once");
      const [claimed] = claims;
      if (claimed === undefined) return;
      order.push(claimed.run.runId);
      await bench.finish(claimed);
    }
    expectEqual(order, ["a", "b", "c", "d"], "the order of the claims");
  },

  "ledger: racing claims keep each user under the limit": async (bench) => {
    for (const userId of ["u", "v"]) {
      for (const id of named("s", 10)) await bench.submit(id, `${userId}-${id}`, { userId });
    }
    const claims = await claimRacing(bench, 7, { maxConcurrentRunsPerUser: 3 });
    const users = claims.map((claimed) => claimed.run.userId ?? "");
    expectSameItems(users, ["u", "u", "u", "v", "v", "v"], "the users of the runs that were handed out");
  },

  "ledger: racing takeovers of one run: exactly one gets it": async (bench) => {
    const first = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
    await bench.expire();
    const claims = await claimRacing(bench, 2);
    expectEqual(claims.length, 1, "the number of owners that took the run over");
    const lease = claims[0]?.lease;
    expectThat((lease?.epoch ?? 0) > first.lease.epoch, "a higher epoch", [first.lease, lease]);
  },

  "ledger: of racing answers exactly one is accepted": async (bench) => {
    const of = await pair(bench);
    for (let round = 0; round < ROUNDS; round++) {
      const id = `s${String(round)}`;
      await bench.park(id, "a", "i1");
      const results = await times(RACERS, (i) =>
        attemptOf(() => of(i).runs.submit(answers(id, `r${String(i)}`, ["i1"]))),
      );
      const accepted = acceptedOf(results, ["INTERRUPT_STALE"], "answers");
      expectEqual(accepted.length, 1, "the number of answers that were accepted");
      await bench.finish(await bench.claim());
    }
  },

  "ledger: racing finish, release and cancel leave one final state": async (bench) => {
    const of = await pair(bench);
    for (let round = 0; round < ROUNDS; round++) {
      const id = `s${String(round)}`;
      const { lease } = await bench.begin(id, "a");
      const results = await times(RACERS, (i) =>
        attemptOf<RunRecord | undefined>(() => {
          const { runs } = of(i);
          if (i % 3 === 0) return runs.cancel(threadOf(id), "a");
          if (i % 3 === 1) return runs.finish(lease, "a", completion({ lastSeq: i }));
          return runs.release(lease, "a").then(() => undefined);
        }),
      );
      const records = acceptedOf(results, ["LEASE_LOST"], "finish, release or cancel");
      const final = records.filter((run) => run?.finishedAt !== undefined);
      const run = await bench.get(id, "a");
      for (const seen of final) expectEqual(seen, run, "what was told after the end");
      const ended = run?.status === "completed" || run?.status === "cancelled";
      expectThat(ended, "the run to have ended", run);
      expectLike(await bench.session(id), { running: undefined, queued: 0 }, "the session");
    }
  },

  "ledger: a finish that races the takeover of its run ends it, or is refused": async (bench) => {
    const other = await bench.other();
    const id = "s";
    const first = await bench.begin(id, "a", { leaseMs: bench.leaseMs });
    await bench.expire();
    const [finished, taken] = await Promise.all([
      attemptOf(() => bench.finish(first, completion({ lastSeq: 1 }))),
      other.tryClaim({ processId: "process-2" }),
    ]);
    const ended = acceptedOf([finished], ["LEASE_LOST"], "the old owner's finish").length === 1;
    expectThat(ended !== (taken !== undefined), "either the finish or the takeover", { finished, taken });
    expectEqual(await bench.statusOf(id, "a"), ended ? "completed" : "running", "the run");
    if (taken !== undefined) await other.finish(taken, completion({ lastSeq: 2 }));
    expectLike(
      await bench.get(id, "a"),
      { status: "completed", lastSeq: ended ? 1 : 2 },
      "the run at its end",
    );
  },

  "ledger: racing interrupts leave one run to go on, and all others ended": async (bench) => {
    const of = await pair(bench);
    const running = await bench.begin("s", "a");
    const runIds = named("r", RACERS);
    await times(RACERS, (i) => of(i).submit("s", runIds[i] ?? "", { onBusy: "interrupt" }));
    expectEqual(await bench.tryClaim(), undefined, "a claim before the interrupted run has ended");
    await bench.finish(running, completion({ outcome: "cancelled" }));
    const states = await Promise.all(runIds.map((runId) => bench.statusOf("s", runId)));
    expectEqual(states.filter((status) => status === "queued").length, 1, "the number of runs that wait");
    const ended = states.filter((status) => status === "cancelled").length;
    expectEqual(ended, RACERS - 1, "the number of runs that were cancelled");
    expectEqual((await bench.claimAll()).length, 1, "the number of runs that are claimed");
  },

  "ledger: no run gets past a tombstone that races it": async (bench) => {
    const of = await pair(bench);
    for (let round = 0; round < ROUNDS; round++) {
      const id = `s${String(round)}`;
      await bench.submit(id, "first");
      const results = await times(RACERS, (i) =>
        attemptOf<unknown>(() =>
          i === RACERS / 2 ? of(i).runs.tombstone(threadOf(id)) : of(i).submit(id, `r${String(i)}`),
        ),
      );
      acceptedOf(results, ["SESSION_NOT_FOUND"], "a run");
      expectEqual((await bench.session(id))?.queued, 0, "the number of runs that wait after the tombstone");
      expectEqual(await bench.tryClaim(), undefined, "what is claimable after the tombstone");
    }
  },

  "ledger: a claim that races a tombstone cannot write": async (bench) => {
    const other = await bench.other();
    for (let round = 0; round < ROUNDS; round++) {
      const id = `s${String(round)}`;
      await bench.submit(id, "a");
      const [claimed] = await Promise.all([bench.tryClaim(), other.runs.tombstone(threadOf(id))]);
      if (claimed === undefined) continue;
      const results = [await attemptOf(() => bench.runs.writeState(claimed.lease, 1))];
      const accepted = acceptedOf(results, ["LEASE_LOST"], "a write");
      expectEqual(accepted.length, 0, "the number of writes that were accepted after the tombstone");
    }
  },

  "ledger: racing deletions and new runs end in the new session or in nothing": async (bench) => {
    const of = await pair(bench);
    const first = await bench.begin("s", "a");
    await times(RACERS, (i) =>
      attemptOf<unknown>(async () => {
        const { runs } = of(i);
        if (i % 3 === 2) return of(i).submit("s", `r${String(i)}`);
        await runs.tombstone(thread);
        return runs.purge(thread);
      }),
    );
    await bench.runs.tombstone(thread);
    await bench.runs.purge(thread);
    expectEqual(await bench.session("s"), undefined, "the session after the last deletion");
    const { lease } = await bench.begin("s", "new");
    expectThat(lease.epoch > first.lease.epoch, "a higher epoch", [first.lease, lease]);
  },

  "ledger: writes of a stale and a fresh owner that race leave the fresh one's": async (bench) => {
    const other = await bench.other();
    const stale = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
    await bench.expire();
    const results = times(RACERS, (i) =>
      attemptOf(() => bench.runs.writeState(stale.lease, `stale ${String(i)}`)),
    );
    const fresh = await other.claim({ processId: "process-2" });
    await other.runs.writeState(fresh.lease, "fresh");
    acceptedOf(await results, ["LEASE_LOST"], "a stale owner's write");
    expectEqual(await bench.runs.readState(thread), "fresh", "the state");
  },
});
