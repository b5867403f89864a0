/* What the runner of a test and its workers say to each other. */

/** What a worker is made with. */
export interface WorkerOptions {
  readonly name: string;
  readonly engine: "postgres" | "redis" | "memory";
  /** A Redis for the events alone. */
  readonly eventsUrl?: string | undefined;
  /** Of the engine, or of a proxy before it. */
  readonly url: string;
  /** The schema or key prefix. */
  readonly space: string;
  readonly modelUrl: string;
  /** Where gates are asked for. */
  readonly gateUrl: string;
  /** Whether to ask at every gate: an HTTP request each. */
  readonly gates: boolean;
  /** The file for records. */
  readonly records: string;
  readonly leaseMs: number;
  /** How far this worker's clock is ahead. */
  readonly clockAheadMs: number;
  readonly maxConcurrentRuns?: number | undefined;
  /** @defaultValue 50: tests that kill do it more often than the service would bear. */
  readonly maxAttempts?: number | undefined;
  readonly poolSize?: number | undefined;
  /** What SIGTERM leaves runs to end. */
  readonly drainMs: number;
  readonly storeOptions?: Readonly<Record<string, unknown>> | undefined;
}

/** Where a worker can be held, in the order of a turn; `#n` counts the puts of one attempt from 0. */
export type GateName =
  | "submit:after"
  | "claim:after"
  /** Between claim and graph. */
  | "credentials"
  | `put:before#${number}`
  | `put:after#${number}`
  | `tool:${string}:before`
  | `tool:${string}:after`
  | "finish:before"
  | "finish:after"
  /** Held by the provider, before the first byte. */
  | `model:${number}`;

/** What a user message is, as JSON: whom it belongs to, and what the model is to do. */
export interface Program {
  readonly run: string;
  /** The tools that each answer but the last calls, all at once. `ask` asks a human before its effect. */
  readonly rounds: readonly (readonly string[])[];
  /** Words of the last answer. @defaultValue 3 */
  readonly words?: number | undefined;
  /** Milliseconds between its pieces. @defaultValue 0 */
  readonly slowMs?: number | undefined;
}

/** The last answer to a program: it must arrive whole, whatever happened. */
export function answerOf(program: Program): string {
  return Array.from({ length: program.words ?? 3 }, (_, index) => `${program.run}-${String(index)}`).join(
    " ",
  );
}
