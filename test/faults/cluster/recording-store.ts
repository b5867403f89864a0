/*
 * A store that writes down what the engine accepted and refused, and where a worker can be held at each of a turn's
 * boundaries. It changes nothing else.
 */
import { isAgentError } from "../../../src/index.js";
import type {
  Claim,
  Lease,
  RunConfigurable,
  RunLedger,
  Store,
  Submission,
} from "../../../src/store/store.js";
import { RUN_KEY } from "../../../src/store/store.js";
import type { GateName } from "./protocol.js";
import { now, type StepRecord } from "./records.js";

type Saver = NonNullable<Store["checkpointer"]>;
type Step = Pick<StepRecord, "step" | "threadId"> & Partial<StepRecord>;

export function recordingStore(
  store: Store,
  worker: string,
  record: (line: StepRecord) => void,
  gate: (name: GateName, runId: string) => Promise<void>,
): Store {
  async function step<T>(facts: Step, work: () => T | Promise<T>, more?: (result: T) => Partial<StepRecord>) {
    const start = now();
    try {
      const result = await work();
      record({ kind: "step", worker, start, end: now(), ...facts, ...more?.(result) });
      return result;
    } catch (error) {
      const refused = isAgentError(error) ? error.code : String(error);
      record({ kind: "step", worker, start, end: now(), refused, ...facts });
      throw error;
    }
  }
  const { runs, events, checkpointer } = store;
  return over(store, {
    ...(runs && { runs: recordingRuns(runs) }),
    ...(checkpointer && { checkpointer: recordingSaver(checkpointer) }),
    ...(events && {
      events: over(events, {
        append: (lease, runId, list) =>
          step({ step: "append", ...of(lease), runId, first: list[0]?.seq, count: list.length }, () =>
            events.append(lease, runId, list),
          ),
        // What went along with another step, whose own record says when.
        stored: (lease, runId, list) => {
          const [start, end] = [now(), now()];
          const facts = { runId, first: list[0]?.seq, count: list.length };
          record({ kind: "step", worker, start, end, step: "along", ...of(lease), ...facts });
          events.stored?.(lease, runId, list);
        },
      }),
    }),
  });

  function claimed({ lease, run: { runId, attempt } }: Claim, start: number): void {
    record({ kind: "step", worker, start, end: now(), step: "claim", ...of(lease), runId, attempt });
  }

  function recordingRuns(target: RunLedger): RunLedger {
    return over(target, {
      submit: async (submission: Submission) => {
        const { threadId, runId } = submission;
        const submitted = await step(
          { step: "submit", threadId, runId },
          () => target.submit(submission),
          ({ created }) => ({ created }),
        );
        if (submitted.claim !== undefined) claimed(submitted.claim, now());
        await gate("submit:after", runId);
        if (submitted.claim !== undefined) await gate("claim:after", runId);
        return submitted;
      },
      claim: async (request) => {
        const start = now();
        const claim: Claim | undefined = await target.claim(request);
        if (claim === undefined) return undefined;
        claimed(claim, start);
        await gate("claim:after", claim.run.runId);
        return claim;
      },
      finish: async (lease, runId, completion) => {
        await gate("finish:before", runId);
        const run = await step(
          { step: "finish", ...of(lease), runId },
          () => target.finish(lease, runId, completion),
          ({ status }) => ({ outcome: status }),
        );
        await gate("finish:after", runId);
        return run;
      },
      release: (lease, runId) =>
        step({ step: "release", ...of(lease), runId }, () => target.release(lease, runId)),
      purge: (threadId) => step({ step: "purge", threadId }, () => target.purge(threadId)),
      writeState: (lease, value) =>
        step({ step: "state", ...of(lease) }, () => target.writeState(lease, value)),
    });
  }

  function recordingSaver(target: Saver): Saver {
    /** Per attempt: how many puts there have been, and the writes whose answers have not come. */
    const attempts = new WeakMap<RunConfigurable, { puts: number; writing: Set<Promise<unknown>> }>();
    const attemptOf = (run: RunConfigurable) => {
      let attempt = attempts.get(run);
      if (attempt === undefined) attempts.set(run, (attempt = { puts: 0, writing: new Set() }));
      return attempt;
    };
    const saver: Partial<Saver> = {
      put: async (...args) => {
        const configurable = args[0].configurable as Record<string, unknown>;
        const run = configurable[RUN_KEY] as RunConfigurable | undefined;
        const namespace = (configurable["checkpoint_ns"] as string | undefined) ?? "";
        const put = () => target.put(...args);
        if (run === undefined || namespace !== "") return put();
        const attempt = attemptOf(run);
        const index = String(attempt.puts++) as `${number}`;
        // A kill here is one after the step and before its checkpoint: the step's writes are in.
        await Promise.allSettled(attempt.writing);
        await gate(`put:before#${index}`, run.turnId);
        const parent = configurable["checkpoint_id"] as string | undefined;
        const { source } = args[2];
        const facts = { checkpoint: args[1].id, parent, source, namespace, runId: run.turnId };
        const result = await step({ step: "put", ...of(run.lease), ...facts }, put);
        await gate(`put:after#${index}`, run.turnId);
        return result;
      },
      putWrites: async (...args) => {
        const run = args[0].configurable?.[RUN_KEY] as RunConfigurable | undefined;
        const write = () => target.putWrites(...args);
        if (run === undefined) return write();
        const { writing } = attemptOf(run);
        const written = step({ step: "writes", ...of(run.lease), runId: run.turnId }, write);
        writing.add(written);
        try {
          await written;
        } finally {
          writing.delete(written);
        }
      },
    };
    if ("restore" in target && typeof target.restore === "function") {
      const restore = target.restore.bind(target) as (lease: Lease, turnId: string) => Promise<boolean>;
      Object.assign(saver, {
        restore: (lease: Lease, turnId: string) =>
          step({ step: "restore", ...of(lease), runId: turnId }, () => restore(lease, turnId)),
      });
    }
    return over(target, saver);
  }
}

function of({ threadId, epoch, owner }: Lease): Pick<StepRecord, "threadId"> & Partial<StepRecord> {
  return { threadId, epoch, owner };
}

/** The object with some methods in place of its own; the others are called on it, whatever private parts they use. */
function over<T extends object>(target: T, methods: Partial<T>): T {
  return new Proxy(target, {
    get: (object, key) => {
      if (key in methods) return Reflect.get(methods, key) as unknown;
      const value = Reflect.get(object, key) as unknown;
      return typeof value === "function" ? (value.bind(object) as unknown) : value;
    },
  });
}
