/** Those who want to be told. One that throws harms neither the teller nor the others. */
export class Listeners<T extends unknown[]> {
  readonly #listeners = new Set<(...news: T) => void>();

  get size(): number {
    return this.#listeners.size;
  }

  /** Listens until the returned function is called, which says whether that was the first time. */
  add(listener: (...news: T) => void): () => boolean {
    // Wrapped, so that one function given twice is called twice and taken off once.
    const own = (...news: T): void => {
      listener(...news);
    };
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  /** Tells those who listen as it begins. */
  tell(...news: T): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(...news);
      } catch {
        // Being told is a courtesy: what it is about has been done, and is in the store.
      }
    }
  }

  clear(): void {
    this.#listeners.clear();
  }
}
