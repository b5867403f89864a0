/*
 * What is written down while a cluster is being hurt: workers append one JSON line for each step of their store, and for
 * each effect of a tool, to files that outlive them. Times are milliseconds of the machine's monotonic clock, which all
 * its processes share.
 */

/** What every store step of a worker leaves when its answer has come. One that was killed before leaves nothing. */
export interface StepRecord {
  readonly kind: "step";
  readonly worker: string;
  readonly step:
    | "submit"
    | "claim"
    | "append"
    | "along"
    | "put"
    | "writes"
    | "restore"
    | "finish"
    | "release"
    | "state"
    | "purge";
  readonly threadId: string;
  readonly runId?: string | undefined;
  readonly epoch?: number | undefined;
  readonly owner?: string | undefined;
  readonly start: number;
  readonly end: number;
  /** The error's code when it was refused. */
  readonly refused?: string | undefined;
  /** Of a put. */
  readonly namespace?: string | undefined;
  readonly checkpoint?: string | undefined;
  readonly parent?: string | undefined;
  /** LangGraph's word for what it is of: `input` or `loop`. */
  readonly source?: string | undefined;
  /** Of an append: the numbers of the events. */
  readonly first?: number | undefined;
  readonly count?: number | undefined;
  /** Of a claim. */
  readonly attempt?: number | undefined;
  /** Of a finish: what the ledger says that the run ended as. */
  readonly outcome?: string | undefined;
  /** Of a submit. */
  readonly created?: boolean | undefined;
}

/** What a worker heard of itself. */
export interface NoteRecord {
  readonly kind: "note";
  readonly worker: string;
  readonly at: number;
  readonly event: "started" | "tool-aborted" | "error" | "run-started" | "run-finished" | "terminated";
  readonly code?: string | undefined;
  readonly message?: string | undefined;
  readonly runId?: string | undefined;
}

/** One effect of a tool: what must not be done twice without need. */
export interface EffectRecord {
  readonly kind: "effect";
  readonly worker: string;
  readonly at: number;
  readonly runId: string;
  readonly tool: string;
  readonly toolCallId: string;
  /** What the library gives a tool so that it can tell a second try. */
  readonly key: string | undefined;
}

export type WorkerRecord = StepRecord | NoteRecord | EffectRecord;

/** One call of a model, as the provider saw it. */
export interface ModelCall {
  readonly runId: string;
  /** How many model answers this turn had already. */
  readonly step: number;
  readonly at: number;
  /** How often this turn's user message stands in what the model was sent. */
  readonly userMessages: number;
}

/** Milliseconds of the monotonic clock. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
