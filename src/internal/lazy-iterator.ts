/** An iterator that can give all that is at hand in one go, without a promise for each item. */
export interface BatchIterator<T> extends AsyncIterableIterator<T, undefined> {
  /** What the following `next()` calls would give without waiting, at most `limit` of it. */
  take?(limit: number): readonly T[];
}

/**
 * An iterator that has to be waited for: opened at the first `next()`. `return()` ends it at once, also while it is
 * being opened or a `next()` is waiting, which an async generator cannot do.
 */
export class LazyIterator<T> implements BatchIterator<T> {
  readonly #open: () => Promise<BatchIterator<T>>;
  #opened: Promise<BatchIterator<T>> | undefined;
  #inner: BatchIterator<T> | undefined;
  #done = false;

  constructor(open: () => Promise<BatchIterator<T>>) {
    this.#open = open;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return this.#inner === undefined || this.#done ? this.#first() : this.#inner.next();
  }

  take(limit: number): readonly T[] {
    return (this.#done ? undefined : this.#inner?.take?.(limit)) ?? [];
  }

  async #first(): Promise<IteratorResult<T, undefined>> {
    if (this.#inner === undefined && !this.#done) {
      this.#opened ??= this.#open();
      this.#inner = await this.#opened;
    }
    if (this.#done || this.#inner === undefined) return { done: true, value: undefined };
    return this.#inner.next();
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#done = true;
    await this.#inner?.return?.();
    return { done: true, value: undefined };
  }
}
