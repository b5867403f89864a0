import type { JsonValue } from "../../json.js";
import { rulesOf } from "./bench.js";
import { expectEqual, expectRefused, expectThat, shown } from "./expectations.js";
import { difficultJson, difficultTexts, threadOf } from "./requests.js";

const thread = threadOf("s");
const MAX_STATE_BYTES = 1_048_576;

/** The state slot of a session. */
export const slotRules = rulesOf(["runs"], {
  "ledger: the state slot gives back what was written last": async (bench) => {
    const claimed = await bench.begin("s", "a");
    expectEqual(await bench.runs.readState(thread), undefined, "the state before any was written");
    const value = { list: [1, "two", null] };
    await bench.runs.writeState(claimed.lease, value);
    value.list.push(4);
    expectEqual(await bench.runs.readState(thread), { list: [1, "two", null] }, "the state");
    for (const simple of [null, 0, "", false, []]) {
      await bench.runs.writeState(claimed.lease, simple);
      expectEqual(await bench.runs.readState(thread), simple, "the state");
    }
    await bench.finish(claimed);
    expectEqual(
      await (await bench.other()).runs.readState(thread),
      [],
      "the state that another process reads",
    );
    expectEqual(await bench.runs.readState(threadOf("t")), undefined, "the state of another session");
  },

  "ledger: state comes back unchanged whatever text is in it": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    for (const value of [...Object.values(difficultTexts), difficultJson()]) {
      await bench.runs.writeState(lease, value);
      expectEqual(await bench.runs.readState(thread), value, "the state");
    }
  },

  "ledger: the state slot refuses what is not JSON": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    await bench.runs.writeState(lease, 1);
    for (const value of [NaN, Infinity, new Date(0), undefined, () => 1, new Map(), [undefined], 1n]) {
      // Not JSON for the compiler either.
      const write = () => bench.runs.writeState(lease, value as JsonValue);
      await expectRefused(write, "INVALID_INPUT", `writing ${shown(value)}`);
    }
    expectEqual(await bench.runs.readState(thread), 1, "the state");
  },

  "ledger: the state slot holds up to maxStateBytes of UTF-8": {
    limits: { maxStateBytes: 8 },
    check: async (bench) => {
      const { lease } = await bench.begin("s", "a");
      await bench.runs.writeState(lease, "123456");
      for (const value of ["1234567", "é€€", "😀😀"]) {
        const write = () => bench.runs.writeState(lease, value);
        await expectRefused(write, "INVALID_INPUT", `writing ${value}, of more than 8 bytes`);
      }
      expectEqual(await bench.runs.readState(thread), "123456", "the state");
    },
  },

  "ledger: the state slot takes 1 MB": {
    limits: { maxStateBytes: MAX_STATE_BYTES },
    check: async (bench) => {
      const { lease } = await bench.begin("s", "a");
      const value = "0123456789abcdef".repeat(MAX_STATE_BYTES / 16).slice(2);
      await bench.runs.writeState(lease, value);
      const seen = await bench.runs.readState(thread);
      expectThat(seen === value, `a text of ${String(value.length)} characters`, seen);
    },
  },

  "ledger: no state is written outside of a run": async (bench) => {
    const claimed = await bench.begin("s", "a");
    await bench.runs.writeState(claimed.lease, 1);
    await bench.finish(claimed);
    await expectRefused(() => bench.runs.writeState(claimed.lease, 2), "LEASE_LOST", "a write after the end");
    expectEqual(await bench.runs.readState(thread), 1, "the state");
  },
});
