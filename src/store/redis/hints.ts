import { Listeners } from "../../internal/listeners.js";
import type { LedgerHint } from "../store.js";
import type { RedisEngine } from "./client.js";
import { decodeHint } from "./scripts/hints.js";
import type { StreamReader } from "./stream-reader.js";

/**
 * Who waits for changes of the ledger in this process. They learn of its own steps at once (`tell`), and of those of
 * other processes through a stream, also when they were cut off for a moment. While nobody watches, nothing is read.
 */
export class RedisHints {
  readonly #engine: RedisEngine;
  readonly #reader: StreamReader;
  readonly #listeners = new Listeners<[hint: LedgerHint]>();
  #stops: (() => void)[] = [];

  constructor(engine: RedisEngine, reader: StreamReader) {
    this.#engine = engine;
    this.#reader = reader;
  }

  watch(listener: (hint: LedgerHint) => void): () => void {
    const stop = this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.#begin();
    return () => {
      if (stop() && this.#listeners.size === 0) this.#end();
    };
  }

  /** Tells this process. */
  readonly tell = (hint: LedgerHint): void => {
    this.#listeners.tell(hint);
  };

  close(): void {
    this.#listeners.clear();
    this.#end();
  }

  #begin(): void {
    this.#stops = [
      this.#reader.followNew(`${this.#engine.tag}:hints`, (entries) => {
        for (const { value } of entries) {
          const hint = decodeHint(value, this.#engine.origin);
          if (hint !== undefined) this.tell(hint);
        }
      }),
      this.#reader.onReconnect(() => {
        this.tell({ type: "queue" });
      }),
    ];
  }

  #end(): void {
    for (const stop of this.#stops) stop();
    this.#stops = [];
  }
}
