/**
 * An iterator that has to be waited for: opened at the first `next()`. `return()` ends it at once, also while it is
 * being opened or a `next()` is waiting, which an async generator cannot do.
 */
export class LazyIterator<T> implements AsyncIterableIterator<T, undefined> {
  readonly #open: () => Promise<AsyncIterableIterator<T, undefined>>;
  #opened: Promise<AsyncIterableIterator<T, undefined>> | undefined;
  #inner: AsyncIterableIterator<T, undefined> | undefined;
  #done = false;

  constructor(open: () => Promise<AsyncIterableIterator<T, undefined>>) {
    this.#open = open;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<T, undefined>> {
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
