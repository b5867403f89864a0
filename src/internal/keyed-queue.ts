interface Line {
  tail: Promise<unknown>;
  tasks: number;
}

/**
 * Runs tasks of one key one after another, in the order of the calls; keys don't wait for each other.
 * A key that has nothing waiting costs nothing: its first task starts within the call.
 */
export class KeyedQueue {
  readonly #lines = new Map<string, Line>();
  readonly #endsAll: (error: unknown) => boolean;

  /** @param endsAll whether those that wait behind a task that failed so fail with it. @defaultValue none do */
  constructor(endsAll: (error: unknown) => boolean = () => false) {
    this.#endsAll = endsAll;
  }

  run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const known = this.#lines.get(key);
    const current =
      known === undefined
        ? task()
        : known.tail.then(task, (error: unknown) => {
            if (this.#endsAll(error)) throw error;
            return task();
          });
    const line = known ?? { tail: current, tasks: 0 };
    line.tail = current;
    line.tasks += 1;
    this.#lines.set(key, line);
    const leave = (): void => {
      line.tasks -= 1;
      if (line.tasks === 0) this.#lines.delete(key);
    };
    current.then(leave, leave);
    return current;
  }

  /** Resolves when the tasks that the key has now have ended, however they did. */
  async idle(key: string): Promise<void> {
    await this.#lines.get(key)?.tail.catch(() => undefined);
  }

  /** How many tasks the key has, the one under way included. */
  tasksOf(key: string): number {
    return this.#lines.get(key)?.tasks ?? 0;
  }

  /** How many keys have a task under way. */
  get size(): number {
    return this.#lines.size;
  }
}
