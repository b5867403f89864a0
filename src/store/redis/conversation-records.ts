import { AgentError } from "../../errors.js";
import type { ConversationRecords, RecordsCommit, ThreadRecords } from "../conversation/records.js";
import { listOf, numberOf, textOf, type RedisEngine } from "./client.js";
import { batchArguments, type EventLimits } from "./event-log.js";
import { commitRecords, deleteRecords, loadRecords } from "./scripts/records.js";

/** Conversations in Redis: one hash per thread, read and changed in one trip. */
export class RedisConversationRecords implements ConversationRecords {
  readonly engine: object;
  readonly #engine: RedisEngine;
  readonly #limits: EventLimits;

  /** @param limits those of the event log, for events that go along with a commit. */
  constructor(engine: RedisEngine, limits: EventLimits = { maxEventsPerRun: Infinity, expireMs: 0 }) {
    this.engine = engine;
    this.#engine = engine;
    this.#limits = limits;
  }

  async load(threadId: string, known?: string): Promise<ThreadRecords | "unchanged" | undefined> {
    const args = known === undefined ? [threadId] : [threadId, known];
    const reply = await this.#engine.run(loadRecords, args, { repeat: true });
    if (!Array.isArray(reply)) return "unchanged";
    let version: string | undefined;
    const records = new Map<string, string>();
    for (let i = 0; i + 1 < reply.length; i += 2) {
      const field = textOf(reply[i]) ?? "";
      const text = textOf(reply[i + 1]) ?? "";
      if (field === "v") version = text;
      else records.set(field.slice(1), text);
    }
    return version === undefined ? undefined : { version, records };
  }

  async commit(change: RecordsCommit): Promise<boolean> {
    const { threadId, base, token, lease, puts, deletes, events } = change;
    if (lease !== undefined && lease.threadId !== threadId) {
      const message = `A write to thread \`${threadId}\` came with the lease of another thread.`;
      throw new AgentError("LEASE_LOST", message);
    }
    const owner = lease === undefined ? ["", ""] : [lease.epoch, lease.owner];
    const reply = await this.#engine.run(
      commitRecords,
      [
        ...[threadId, token, base ?? "", ...owner, puts.length, deletes.length, events?.runId ?? ""],
        ...[...puts.flat(), ...deletes],
        ...(events === undefined ? [] : batchArguments(events.runId, events.events, this.#limits)),
      ],
      { repeat: true, lease },
    );
    return numberOf(reply) === 1;
  }

  async delete(threadId: string): Promise<void> {
    await this.#engine.run(deleteRecords, [threadId], { repeat: true });
  }

  async threads(options: {
    readonly after: string | undefined;
    readonly limit: number;
  }): Promise<readonly string[]> {
    const { after, limit } = options;
    const from = after === undefined ? "-" : `(${after}`;
    const key = `${this.#engine.tag}:conversations`;
    const reply = await this.#engine.command("zrangebylex", key, from, "+", "limit", 0, limit);
    return listOf(reply).map((threadId) => textOf(threadId) ?? "");
  }
}
