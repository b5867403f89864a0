import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import { integerOption, refuseUnknownKeys } from "../../internal/check-options.js";
import { systemClock, type Clock } from "../../internal/clock.js";
import { checkOrder } from "./checkpoint-time.js";
import { ConversationSaver } from "./conversation-saver.js";
import type { ConversationSaverOptions } from "./conversation-saver.js";
import { RecordedThreads } from "./recorded-threads.js";
import type { ConversationRecords } from "./records.js";

export interface RecordsConversationSaverOptions extends ConversationSaverOptions {
  /** @defaultValue the system's clock, from which LangGraph's checkpoint ids come */
  readonly clock?: Clock | undefined;
  /**
   * How long the first read under a new lease may wait for this process's clock to pass the time of the last
   * checkpoint, which a process with a faster clock may have written. Beyond it: `CLOCK_SKEW`. @defaultValue 10,000
   */
  readonly maxClockSkewMs?: number | undefined;
}

const OPTIONS = ["history", "forkableRuns", "liveBytes", "serde", "clock", "maxClockSkewMs"];

type PutArguments = Parameters<BaseCheckpointSaver["put"]>;

/**
 * A {@link ConversationSaver} over the records of an engine, for any number of processes; see `recorded-threads.ts` for
 * how it buffers and caches, and `thread-records.ts` for what is stored.
 *
 * `put` and `putWrites` resolve when the engine has it, but for the input of a leased run: that the run record
 * has too, so its `put` resolves at once, to be stored with what follows ({@link RecordsConversationSaver.settled}). If
 * it then can't be, the lease takes no more writes. Every write needs a lease of its own thread under {@link RUN_KEY}; the engine decides whether it
 * still holds. `LEASE_LOST`, `CLOCK_SKEW` and `STORE_UNAVAILABLE` are what reads and writes throw.
 */
export class RecordsConversationSaver extends ConversationSaver<RecordedThreads> {
  /** See {@link RunLedger.engine}. */
  readonly engine: object | undefined;

  /**
   * @param isFenced see {@link RecordsConversationSaver.unfenced}
   * @throws {TypeError | RangeError} on options of a wrong type or out of range.
   */
  constructor(records: ConversationRecords, options: RecordsConversationSaverOptions = {}, isFenced = true) {
    refuseUnknownKeys("RecordsConversationSaver", options, OPTIONS);
    const maxClockSkewMs = integerOption("maxClockSkewMs", options.maxClockSkewMs, 10_000, 0);
    const clock = options.clock ?? systemClock;
    super(options, (settings) => new RecordedThreads(records, settings, { isFenced, clock, maxClockSkewMs }));
    this.engine = records.engine;
  }

  /** One that takes writes from anybody, for host tools and conformance tests. Of racing writers, all are heard. */
  static unfenced(
    records: ConversationRecords,
    options: RecordsConversationSaverOptions = {},
  ): RecordsConversationSaver {
    return new RecordsConversationSaver(records, options, false);
  }

  /** Resolves when all of a thread that this saver was given is stored, or can't be any more; never rejects. */
  settled(threadId: string): Promise<void> {
    return this.source.settled(threadId);
  }

  /** For the engine's store: lets go of what is kept here of a thread that the engine has forgotten. */
  forget(threadId: string): void {
    this.source.forget(threadId);
  }

  override async put(...args: PutArguments): ReturnType<BaseCheckpointSaver["put"]> {
    const [config, checkpoint] = args;
    checkOrder(checkpoint.id, config.configurable?.["checkpoint_id"]);
    return super.put(...args);
  }
}
