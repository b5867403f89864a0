import type { JsonObject } from "../../json.js";
import type { ProcessRecord, ProcessRegistry } from "../store.js";
import { listOf, numberOf, textOf, type RedisEngine } from "./client.js";
import { beat, leave, listProcesses, sendMessage } from "./scripts/processes.js";
import type { StreamReader } from "./stream-reader.js";

interface Listener {
  readonly after: string;
  readonly listener: (message: JsonObject) => void;
}

/** The processes that use the store, in Redis: entries expire by its clock; messages reach whoever is back in time. */
export class RedisProcesses implements ProcessRegistry {
  readonly #engine: RedisEngine;
  readonly #reader: StreamReader;
  readonly #listeners = new Set<Listener>();
  /** The id of the last message that was sent here: whoever watches from then on has nothing to do with it. */
  #sent = "0-0";
  #stop: (() => void) | undefined;

  constructor(engine: RedisEngine, reader: StreamReader) {
    this.#engine = engine;
    this.#reader = reader;
  }

  async beat(processId: string, info: JsonObject, ttlMs: number): Promise<void> {
    await this.#engine.run(beat, [processId, JSON.stringify(info), ttlMs], { repeat: true });
  }

  async leave(processId: string): Promise<void> {
    await this.#engine.run(leave, [processId], { repeat: true });
  }

  async list(): Promise<readonly ProcessRecord[]> {
    const reply = listOf(await this.#engine.run(listProcesses, [], { repeat: true }));
    const records: ProcessRecord[] = [];
    for (let i = 0; i + 3 < reply.length; i += 4) {
      records.push({
        processId: textOf(reply[i]) ?? "",
        startedAt: numberOf(reply[i + 1]),
        seenAt: numberOf(reply[i + 2]),
        info: JSON.parse(textOf(reply[i + 3]) ?? "{}") as JsonObject,
      });
    }
    return records;
  }

  async send(message: JsonObject): Promise<void> {
    // Twice is better than not at all: messages ask for something to be done, and then it has been.
    const id = textOf(await this.#engine.run(sendMessage, [JSON.stringify(message)], { repeat: true }));
    if (id !== undefined && isLater(id, this.#sent)) this.#sent = id;
  }

  watch(listener: (message: JsonObject) => void): () => void {
    // An object of its own, so that one function given twice is called twice and taken off once.
    const own: Listener = { after: this.#sent, listener };
    this.#listeners.add(own);
    this.#stop ??= this.#reader.followNew(`${this.#engine.tag}:messages`, (entries) => {
      for (const { id, value } of entries) this.#tell(id, JSON.parse(value) as JsonObject);
    });
    return () => {
      if (this.#listeners.delete(own) && this.#listeners.size === 0) this.close();
    };
  }

  close(): void {
    this.#listeners.clear();
    this.#stop?.();
    this.#stop = undefined;
  }

  /** A listener that throws harms neither the reader nor the others. */
  #tell(id: string, message: JsonObject): void {
    for (const { after, listener } of [...this.#listeners]) {
      if (!isLater(id, after)) continue;
      try {
        listener(message);
      } catch {
        // Others want to hear it too.
      }
    }
  }
}

/** Ids of a stream are milliseconds and, within one, a count. */
function isLater(a: string, b: string): boolean {
  const [ms = 0, count = 0] = a.split("-").map(Number);
  const [otherMs = 0, otherCount = 0] = b.split("-").map(Number);
  return ms === otherMs ? count > otherCount : ms > otherMs;
}
