import type { UserMessage } from "../agent.js";
import type { Clock } from "../internal/clock.js";
import type { Claim, EventLog } from "../store/store.js";
import { EventWriter } from "./event-writer.js";
import type { SummaryBuilder } from "./run-summary.js";

const PAGE_SIZE = 256;

/** What a run decided to undo for itself, and the message that it gives instead. */
export interface Rewind {
  readonly turnId: string;
  readonly message: UserMessage;
}

/**
 * The event log of a run as its owner uses it: to write, and on a later attempt to learn what the owner before had
 * got to. Only what the log still keeps is learned: of a text that is cut the conversation has the whole, and a turn that
 * has told so much has its checkpoint, so that its rewind is not looked up again.
 */
export class RunJournal {
  #rewind: Rewind | undefined;

  private constructor(readonly writer: EventWriter) {}

  /** Reads what earlier attempts told, into the summary too. @throws what the log throws. */
  static async open(
    log: EventLog,
    { run, lease }: Claim,
    clock: Clock,
    summary: SummaryBuilder,
  ): Promise<RunJournal> {
    const { threadId, runId, attempt } = run;
    if (attempt <= 1) return new RunJournal(new EventWriter(log, lease, runId, 0, clock));
    let rewind: Rewind | undefined;
    let last = 0;
    // What a log keeps of a run in this process may be behind the engine for one look: its end is where two find nothing.
    for (let after = 0, inVain = 0; inVain < 2;) {
      const page = await log.read(threadId, runId, { after, limit: PAGE_SIZE });
      last = page.last;
      inVain = page.events.length === 0 ? inVain + 1 : 0;
      if (page.trimmed && after === 0) summary.lose();
      for (const event of page.events) {
        after = event.seq;
        if (event.type === "run-rewound") rewind = event;
        summary.recall(event);
      }
    }
    summary.begin();
    const journal = new RunJournal(new EventWriter(log, lease, runId, last, clock));
    journal.#rewind = rewind;
    return journal;
  }

  /** What this run had decided to undo, on an attempt before this one. */
  get rewind(): Rewind | undefined {
    return this.#rewind;
  }

  /** Notes, so that it survives this process, what the run is about to undo. */
  async noteRewind({ turnId, message }: Rewind): Promise<void> {
    await this.writer.push({ type: "run-rewound", turnId, message });
    await this.writer.flush();
  }
}
