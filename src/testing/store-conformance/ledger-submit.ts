import { rulesOf } from "./bench.js";
import { expectEqual, expectLike, expectRefused, expectThat } from "./expectations.js";
import { completion, difficultJson, submission, threadOf } from "./requests.js";

/** From 2001 to 5138, in milliseconds: seconds and microseconds are out of it. */
const MILLISECONDS = { least: 1e12, most: 1e14 };

/** What `submit` accepts, refuses and leaves behind. */
export const submitRules = rulesOf(["runs"], {
  "ledger: an accepted run is queued with what was submitted": async (bench) => {
    const given = submission("s", "a", {
      userId: "u",
      affinity: "process-1",
      defaults: { provider: "p" },
      configPatch: { model: "m" },
    });
    const { run, created } = await bench.runs.submit(given);
    expectEqual(created, true, "`created`");
    const { threadId, sessionId, userId, runId, input, fingerprint, affinity } = given;
    const wanted = {
      ...{ threadId, sessionId, userId, runId, input, fingerprint, affinity },
      ...{ turnId: "a", config: { provider: "p", model: "m" }, status: "queued", attempt: 0 },
    };
    const { createdAt, ...others } = run;
    expectEqual(others, wanted, "the run");
    const inTime = createdAt > MILLISECONDS.least && createdAt < MILLISECONDS.most;
    expectThat(inTime, "`createdAt` in milliseconds since the epoch", createdAt);
    expectEqual(await bench.get("s", "a", "u"), run, "the run that `get` gives");
  },

  "ledger: a run of a session without user has none": async (bench) => {
    const run = await bench.submit("s", "a");
    expectEqual(run.userId, undefined, "`userId`");
    expectEqual(run.affinity, undefined, "`affinity`");
  },

  "ledger: the same request under the same run id is the same run": async (bench) => {
    await bench.submit("s", "a");
    const again = await bench.runs.submit(submission("s", "a"));
    expectLike(again, { created: false, run: { runId: "a", status: "queued" } }, "the second answer");
    await bench.finish(await bench.claim());
    const third = await bench.runs.submit(submission("s", "a"));
    expectLike(third, { created: false, run: { status: "completed" } }, "the answer after the end");
    expectEqual(await bench.claimAll(), [], "what is claimable then");
  },

  "ledger: another request under a known run id is refused": async (bench) => {
    const other = () => bench.submit("s", "a", { fingerprint: "another" });
    await bench.submit("s", "a");
    await expectRefused(other, "RUN_ID_CONFLICT", "another request under the id of a queued run");
    await bench.finish(await bench.claim());
    await expectRefused(other, "RUN_ID_CONFLICT", "another request under the id of a finished run");
    expectLike(await bench.get("s", "a"), { fingerprint: "fingerprint-of-a" }, "the first run");
  },

  "ledger: a known run id is recognised before any policy is asked": async (bench) => {
    await bench.submit("s", "a");
    const again = await bench.runs.submit(submission("s", "a", { onBusy: "reject", totalQueueLimit: 1 }));
    expectEqual(again.created, false, "`created` of the same request under `reject`");
    const third = await bench.runs.submit(submission("s", "a", { onBusy: "interrupt" }));
    expectLike(third.run, { status: "queued" }, "the run that the same request must not interrupt");
  },

  "ledger: run ids are scoped to their session": async (bench) => {
    await bench.submit("s", "a");
    const other = await bench.runs.submit(submission("t", "a", { fingerprint: "another" }));
    expectEqual(other.created, true, "`created` in the other session");
    expectLike(await bench.get("s", "a"), { threadId: threadOf("s") }, "the run of the first session");
    expectLike(await bench.get("t", "a"), { threadId: threadOf("t") }, "the run of the second session");
  },

  "ledger: a session id of two users names two sessions": async (bench) => {
    await bench.submit("s", "a", { userId: "u", configPatch: { model: "m" } });
    await bench.submit("s", "b", { userId: "v", onBusy: "reject" });
    await bench.submit("s", "c", { onBusy: "reject" });
    expectEqual((await bench.session("s", "v"))?.config, {}, "the second user's config");
    expectEqual((await bench.session("s"))?.queued, 1, "what waits in the session without user");
  },

  "ledger: reject refuses a session that is not free": async (bench) => {
    const reject = () => bench.submit("s", "b", { onBusy: "reject" });
    await bench.submit("s", "a", { onBusy: "reject" });
    await expectRefused(reject, "SESSION_BUSY", "a run behind a queued one");
    const claimed = await bench.claim();
    await expectRefused(reject, "SESSION_BUSY", "a run behind a running one");
    await bench.finish(claimed);
    expectLike(await reject(), { status: "queued" }, "the run in the free session");
  },

  "ledger: queueLimit runs wait behind the one that is next": async (bench) => {
    const submit = (runId: string) => bench.submit("s", runId, { queueLimit: 2 });
    for (const runId of ["a", "b", "c"]) await submit(runId);
    await expectRefused(() => submit("d"), "QUEUE_FULL", "the third run behind a queued one");
    await bench.claim();
    await expectRefused(() => submit("d"), "QUEUE_FULL", "the third run behind a running one");
    await bench.runs.cancel(threadOf("s"), "b");
    expectLike(await submit("d"), { status: "queued" }, "the run that takes the place of a cancelled one");
  },

  "ledger: totalQueueLimit runs wait in all sessions": async (bench) => {
    const submit = (sessionId: string) => bench.submit(sessionId, "a", { totalQueueLimit: 2 });
    await submit("s");
    await submit("t");
    await expectRefused(() => submit("u"), "QUEUE_FULL", "the third run in the ledger");
    await bench.claim();
    expectLike(await submit("u"), { status: "queued" }, "the run after one was claimed");
  },

  "ledger: a refused run leaves nothing": async (bench) => {
    await bench.submit("s", "a");
    await expectRefused(
      () => bench.submit("s", "b", { onBusy: "reject", configPatch: { model: "m" } }),
      "SESSION_BUSY",
      "the second run",
    );
    expectEqual(await bench.get("s", "b"), undefined, "the refused run");
    expectEqual((await bench.session("s"))?.config, {}, "the session's config");
    await expectRefused(() => bench.submit("t", "c", { totalQueueLimit: 1 }), "QUEUE_FULL", "the third run");
    expectEqual(await bench.session("t"), undefined, "the session whose only run was refused");
    if (bench.has("sessions")) {
      expectEqual(await bench.sessions.get(threadOf("t")), undefined, "that session's row");
    }
    expectEqual(await bench.claimAll(), ["a"], "what is claimable");
  },

  "ledger: config sticks to its session, over the defaults": async (bench) => {
    const first = { defaults: { provider: "p", model: "m0" }, configPatch: { model: "m1", deep: { a: 1 } } };
    await bench.submit("s", "a", first);
    const second = await bench.submit("s", "b", {
      defaults: { provider: "q", model: "m0", extra: true },
      configPatch: { deep: { b: 2 } },
    });
    const config = { provider: "q", model: "m1", extra: true, deep: { b: 2 } };
    expectEqual(second.config, config, "the second run's config");
    expectEqual((await bench.session("s"))?.config, { model: "m1", deep: { b: 2 } }, "what sticks");
    const other = await bench.submit("t", "a", { defaults: { model: "m0" } });
    expectEqual(other.config, { model: "m0" }, "the config of another session's run");
  },

  "ledger: a run keeps the config that it was accepted with": async (bench) => {
    const patch = { model: "m1", deep: { a: 1 } };
    await bench.submit("s", "a", { configPatch: patch });
    patch.deep.a = 2;
    await bench.submit("s", "b", { configPatch: { model: "m2" } });
    expectEqual((await bench.claim()).run.config, { model: "m1", deep: { a: 1 } }, "the first run's config");
  },

  "ledger: a long config sticks as a short one does": async (bench) => {
    const prompt = "x".repeat(60_000);
    await bench.submit("s", "a", { configPatch: { prompt } });
    expectLike(await bench.submit("s", "b"), { config: { prompt } }, "a run without a config of its own");
    await bench.submit("s", "c", { configPatch: { model: "m" } });
    expectEqual((await bench.session("s"))?.config, { prompt, model: "m" }, "the session's config");
  },

  "ledger: a config value that is undefined changes nothing": async (bench) => {
    await bench.submit("s", "a", { configPatch: { model: "m1" } });
    const second = await bench.submit("s", "b", { configPatch: { model: undefined } });
    expectEqual(second.config, { model: "m1" }, "the second run's config");
  },

  "ledger: interrupt cancels what waits and marks what runs": async (bench) => {
    await bench.submit("s", "a");
    const running = await bench.claim();
    await bench.submit("s", "b");
    await bench.submit("s", "c", { onBusy: "interrupt" });
    const marked = { status: "running", cancelRequested: "interrupt" };
    expectLike(await bench.get("s", "a"), marked, "the running run");
    const cancelled = { status: "cancelled", cancelRequested: "interrupt" };
    expectLike(await bench.get("s", "b"), cancelled, "the queued run");
    expectEqual(await bench.tryClaim(), undefined, "what is claimable before the running run has ended");
    await bench.finish(running, completion({ outcome: "cancelled" }));
    const next = await bench.claim();
    expectLike(next, { run: { runId: "c" }, undo: [] }, "the next claim");
  },

  "ledger: interrupt and rollback need no room in the session's queue": async (bench) => {
    await bench.submit("s", "a");
    await bench.claim();
    for (const runId of ["b", "c"]) await bench.submit("s", runId);
    await bench.submit("s", "d", { onBusy: "interrupt", queueLimit: 0, totalQueueLimit: 1 });
    await bench.submit("s", "e", { onBusy: "rollback", queueLimit: 0, totalQueueLimit: 1 });
    expectEqual((await bench.session("s"))?.queued, 1, "what waits");
  },

  "ledger: rollback gives the turn that has begun to the next claim, to be undone": async (bench) => {
    const running = await bench.begin("s", "a");
    await bench.submit("s", "b", { onBusy: "rollback" });
    const marked = { status: "running", cancelRequested: "rollback" };
    expectLike(await bench.get("s", "a"), marked, "the running run");
    await bench.finish(running, completion({ outcome: "cancelled" }));
    expectLike(await bench.claim(), { run: { runId: "b" }, undo: ["a"] }, "the next claim");
  },

  "ledger: rollback undoes a turn that was released": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    await bench.runs.release(lease, "a");
    await bench.submit("s", "b", { onBusy: "rollback" });
    expectEqual(await bench.statusOf("s", "a"), "cancelled", "the released run");
    expectLike(await bench.claim(), { run: { runId: "b" }, undo: ["a"] }, "the next claim");
  },

  "ledger: rollback undoes no turn that never began": async (bench) => {
    await bench.submit("s", "a");
    await bench.submit("s", "b", { onBusy: "rollback" });
    expectLike(await bench.claim(), { run: { runId: "b" }, undo: [] }, "the next claim");
  },

  "ledger: turns come to be undone, oldest first, until a run says that they are": async (bench) => {
    const first = await bench.begin("s", "a");
    await bench.submit("s", "b", { onBusy: "rollback" });
    await bench.finish(first, completion({ outcome: "cancelled" }));
    const second = await bench.claim();
    expectEqual(second.undo, ["a"], "what the second run is to undo");
    await bench.submit("s", "c", { onBusy: "rollback" });
    await bench.finish(second, completion({ outcome: "failed" }));
    const third = await bench.claim();
    expectEqual(third.undo, ["a", "b"], "what the third run is to undo");
    await bench.submit("s", "d", { onBusy: "rollback" });
    await bench.finish(third, completion({ undone: true }));
    const fourth = await bench.claim();
    expectEqual(fourth.undo, ["c"], "what the fourth run is to undo");
    await bench.finish(fourth, completion({ undone: true }));
    expectEqual((await bench.begin("s", "e")).undo, [], "what the fifth run is to undo");
  },

  "ledger: texts and JSON of every kind come back unchanged": async (bench) => {
    const value = difficultJson();
    const input = {
      kind: "message",
      message: { id: "m", content: [{ type: "text", text: "你好", ...value }] },
    } as const;
    await bench.submit("s", "a", { input, configPatch: value, fingerprint: "指纹 👆" });
    const { run } = await bench.claim();
    expectEqual(run.input, input, "the input");
    expectEqual(run.config, value, "the config");
    expectEqual(run.fingerprint, "指纹 👆", "the fingerprint");
    expectEqual((await bench.session("s"))?.config, value, "what sticks of the config");
  },

  "ledger: ids of 200 characters in any script are told apart": async (bench) => {
    const [long, longer] = ["界".repeat(199) + "一", "界".repeat(199) + "二"];
    const run = await bench.submit(long, longer, { userId: longer });
    expectLike(run, { sessionId: long, userId: longer, runId: longer }, "the run");
    expectEqual(await bench.session(longer, longer), undefined, "the session with another last character");
    expectEqual((await bench.claim()).run, await bench.get(long, longer, longer), "the claimed run");
    const percent = await bench.runs.submit(submission("a.b%2e' {x}:*?[1]", "r:{}*", { userId: "ö/ü" }));
    expectEqual(percent.created, true, "`created` of a run with odd ids");
    expectEqual((await bench.claim()).run.sessionId, "a.b%2e' {x}:*?[1]", "the session id");
  },

  "ledger: a message of 200 KB comes back unchanged": async (bench) => {
    const content = "0123456789 你好👋 ".repeat(12_000);
    const input = { kind: "message", message: { id: "m", content } } as const;
    await bench.submit("s", "a", { input });
    const { run } = await bench.claim();
    const seen = run.input.kind === "message" ? run.input.message.content : run.input;
    expectThat(seen === content, `the text of ${String(content.length)} characters`, seen);
  },
});
