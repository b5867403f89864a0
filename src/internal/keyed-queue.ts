/**
 * Runs tasks of one key one after another, in the order of the calls; keys don't wait for each other.
 * A key that has nothing waiting costs nothing: its first task starts within the call.
 */
export class KeyedQueue {
  readonly #tails = new Map<string, Promise<unknown>>();

  run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const current = before === undefined ? task() : before.then(task, task);
    this.#tails.set(key, current);
    const forget = (): void => {
      if (this.#tails.get(key) === current) this.#tails.delete(key);
    };
    current.then(forget, forget);
    return current;
  }

  /** Resolves when the tasks that the key has now have ended, however they did. */
  async idle(key: string): Promise<void> {
    await this.#tails.get(key)?.catch(() => undefined);
  }

  /** How many keys have a task under way. */
  get size(): number {
    return this.#tails.size;
  }
}
