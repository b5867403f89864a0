import { systemClock } from "../../internal/clock.js";
import { rulesOf } from "./bench.js";
import { expectEqual, expectLike, expectRefused } from "./expectations.js";
import { answers, completion, interrupted, summary, threadOf } from "./requests.js";

const POLICIES = ["interrupt", "rollback"] as const;

/** Sessions that wait for answers. */
export const parkingRules = rulesOf(["runs"], {
  "ledger: interrupts park the session, and what waits stays": async (bench) => {
    await bench.submit("s", "a");
    const running = await bench.claim();
    await bench.submit("s", "b");
    await bench.finish(running, interrupted("i1"));
    expectEqual(await bench.tryClaim(), undefined, "what is claimable in a parked session");
    const parked = { runId: "a", status: "interrupted", summary: { interrupts: [{ id: "i1" }] } };
    expectLike(await bench.session("s"), { parked, running: undefined, queued: 1 }, "the session");
  },

  "ledger: a parked session refuses new runs": async (bench) => {
    await bench.park("s", "a", "i1");
    for (const onBusy of ["enqueue", "reject"] as const) {
      await expectRefused(() => bench.submit("s", "b", { onBusy }), "INTERRUPT_PENDING", `\`${onBusy}\``);
    }
    expectEqual(await bench.get("s", "b"), undefined, "the refused run");
  },

  "ledger: answers end the parking and go ahead of what waits": async (bench) => {
    await bench.submit("s", "a");
    const running = await bench.claim();
    await bench.submit("s", "b");
    await bench.finish(running, interrupted("i1", "i2"));
    await bench.runs.submit(answers("s", "c", ["i2"]));
    expectEqual((await bench.session("s"))?.parked, undefined, "the parked run after the answers");
    const claimed = await bench.claim();
    expectEqual(claimed.run.runId, "c", "the run that is claimed first");
    await bench.finish(claimed);
    expectEqual((await bench.claim()).run.runId, "b", "the run that is claimed next");
  },

  "ledger: answers have turn and config of the run that asked": async (bench) => {
    await bench.submit("s", "a", { configPatch: { model: "m1" } });
    const running = await bench.claim();
    await bench.submit("s", "b", { configPatch: { model: "m2" } });
    await bench.finish(running, interrupted("i1"));
    const given = answers("s", "c", ["i1"], { configPatch: { model: "m3" }, defaults: { model: "m4" } });
    const { run } = await bench.runs.submit(given);
    expectLike(run, { turnId: "a", input: given.input }, "the answers' run");
    expectEqual(run.config, { model: "m1" }, "the answers' config");
    expectEqual((await bench.session("s"))?.config, { model: "m2" }, "what sticks to the session");
    expectEqual((await bench.claim()).run, { ...(await bench.get("s", "c")) }, "the claimed answers");
  },

  "ledger: answers must name interrupts that wait": async (bench) => {
    await bench.park("s", "a", "i1");
    for (const ids of [[], ["i2"], ["i1", "i2"]]) {
      const what = `answers to ${JSON.stringify(ids)} when i1 waits`;
      await expectRefused(() => bench.runs.submit(answers("s", "b", ids)), "INTERRUPT_STALE", what);
    }
    const elsewhere = () => bench.runs.submit(answers("t", "b", ["i1"]));
    await expectRefused(elsewhere, "INTERRUPT_STALE", "answers to a session that nobody knows");
    expectEqual(await bench.session("t"), undefined, "that session");
    expectLike(await bench.session("s"), { parked: { runId: "a" }, queued: 0 }, "the parked session");
    await bench.runs.submit(answers("s", "b", ["i1"]));
    const late = () => bench.runs.submit(answers("s", "c", ["i1"]));
    await expectRefused(late, "INTERRUPT_STALE", "second answers to i1");
  },

  "ledger: interrupt ids of every kind can be answered": async (bench) => {
    const ids = ["i,1", "i\"2'", "你好 👋", "__proto__", "a:b{c}"];
    await bench.park("s", "a", ...ids);
    for (const id of ["i", "1", "a:b"]) {
      const part = () => bench.runs.submit(answers("s", "b", [id]));
      await expectRefused(part, "INTERRUPT_STALE", `answers to ${id}, which is only a part of one`);
    }
    const { run } = await bench.runs.submit(answers("s", "b", ids));
    expectEqual(run.status, "queued", "the answers' status");
  },

  "ledger: the same answers under one run id are one run": async (bench) => {
    await bench.park("s", "a", "i1");
    await bench.runs.submit(answers("s", "b", ["i1"]));
    const again = await bench.runs.submit(answers("s", "b", ["i1"]));
    expectLike(again, { created: false, run: { runId: "b" } }, "the second answer");
  },

  "ledger: answers need no room in a full queue": async (bench) => {
    await bench.submit("s", "a");
    const running = await bench.claim();
    await bench.submit("s", "b");
    await bench.finish(running, interrupted("i1"));
    const { run } = await bench.runs.submit(
      answers("s", "c", ["i1"], { onBusy: "reject", queueLimit: 0, totalQueueLimit: 1 }),
    );
    expectEqual(run.status, "queued", "the answers' status");
  },

  "ledger: interrupt and rollback close a parked run, which keeps its one status": async (bench) => {
    for (const onBusy of POLICIES) {
      const next = `next-${onBusy}`;
      await bench.park(onBusy, "a", "i1");
      await bench.submit(onBusy, next, { onBusy });
      const closed = { status: "interrupted", cancelRequested: onBusy };
      expectLike(await bench.get(onBusy, "a"), closed, "the run that was parked");
      expectEqual((await bench.session(onBusy))?.parked, undefined, "the parked run");
      const late = () => bench.runs.submit(answers(onBusy, "late", ["i1"]));
      await expectRefused(late, "INTERRUPT_STALE", "answers to a closed interrupt");
      const undo = onBusy === "rollback" ? ["a"] : [];
      expectLike(await bench.claim(), { run: { runId: next }, undo }, "the next claim");
    }
  },

  "ledger: rollback undoes a turn whose answers wait": async (bench) => {
    await bench.park("s", "a", "i1");
    await bench.runs.submit(answers("s", "b", ["i1"]));
    await bench.submit("s", "c", { onBusy: "rollback" });
    expectLike(await bench.claim(), { run: { runId: "c" }, undo: ["a"] }, "the next claim");
  },

  "ledger: rollback of answers undoes the turn that they belong to": async (bench) => {
    await bench.park("s", "a", "i1");
    await bench.runs.submit(answers("s", "b", ["i1"]));
    const running = await bench.claim();
    await bench.submit("s", "c", { onBusy: "rollback" });
    await bench.finish(running, completion({ outcome: "cancelled" }));
    expectLike(await bench.claim(), { run: { runId: "c" }, undo: ["a"] }, "the next claim");
  },

  "ledger: answers that leave interrupts park again": async (bench) => {
    await bench.park("s", "a", "i1", "i2");
    await bench.runs.submit(answers("s", "b", ["i1"]));
    await bench.finish(await bench.claim(), completion({ outcome: "failed", summary: summary("i2") }));
    const parked = { runId: "b", turnId: "a", status: "failed" };
    expectLike(await bench.session("s"), { parked }, "the session");
    const old = () => bench.runs.submit(answers("s", "c", ["i1"]));
    await expectRefused(old, "INTERRUPT_STALE", "answers to the interrupt that was answered");
    const { run } = await bench.runs.submit(answers("s", "c", ["i2"]));
    expectEqual(run.turnId, "a", "the turn of the second answers");
  },

  "ledger: a run that was told to stop parks nothing": async (bench) => {
    const running = await bench.begin("s", "a");
    await bench.submit("s", "b", { onBusy: "interrupt" });
    const stopped = await bench.finish(running, interrupted("i1"));
    expectLike(stopped, { status: "cancelled", cancelRequested: "interrupt" }, "the stopped run");
    expectEqual((await bench.session("s"))?.parked, undefined, "the parked run");
    expectEqual((await bench.claim()).run.runId, "b", "the next run");
  },

  "ledger: cancel closes a parked run, and what waited goes on": async (bench) => {
    await bench.submit("s", "a");
    const running = await bench.claim();
    await bench.submit("s", "b");
    await bench.finish(running, interrupted("i1"));
    const closed = await bench.runs.cancel(threadOf("s"), "a");
    expectLike(closed, { runId: "a", status: "interrupted", cancelRequested: "cancel" }, "the closed run");
    expectEqual((await bench.claim()).run.runId, "b", "the next run");
  },

  "ledger: cancelled answers do not bring their interrupts back": async (bench) => {
    await bench.park("s", "a", "i1");
    await bench.runs.submit(answers("s", "b", ["i1"]));
    await bench.runs.cancel(threadOf("s"), "b");
    expectEqual((await bench.session("s"))?.parked, undefined, "the parked run");
    const late = () => bench.runs.submit(answers("s", "c", ["i1"]));
    await expectRefused(late, "INTERRUPT_STALE", "answers after the cancelled ones");
  },

  "ledger: sweep closes runs that are parked for interruptTtlMs, and no others": async (bench) => {
    // Where the younger one gets too old before the sweep has come, nothing is proved: again then, with more time.
    for (let ttl = 200, isSlow = true; isSlow; ttl *= 3) {
      const [older, younger] = [`s${String(ttl)}`, `t${String(ttl)}`];
      await bench.park(older, "a", "i1");
      await bench.pass(ttl + 50);
      const parkedAt = systemClock.monotonic();
      await bench.park(younger, "b", "i1");
      expectEqual(await bench.runs.sweep({}), 0, "what a sweep without limit closed");
      expectEqual(await bench.runs.sweep({ interruptTtlMs: 3_600_000 }), 0, "what a sweep of an hour closed");
      const closed = await bench.runs.sweep({ interruptTtlMs: ttl });
      isSlow = systemClock.monotonic() - parkedAt >= ttl;
      expectEqual((await bench.session(older))?.parked, undefined, "the older parked run");
      expectLike(
        await bench.get(older, "a"),
        { status: "interrupted", cancelRequested: "cancel" },
        "the closed run",
      );
      if (isSlow) await bench.runs.cancel(threadOf(younger));
      else {
        expectEqual(closed, 1, "what a sweep of the older one's age closed");
        expectLike(
          await bench.session(younger),
          { parked: { runId: "b" } },
          "the session of the younger one",
        );
      }
    }
  },
});
