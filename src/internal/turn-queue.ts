/** One place in a {@link TurnQueue}. */
export interface Turn {
  /** Resolves when the turn has come; never rejects. */
  readonly promise: Promise<void>;
  /** Whether it has come: true from the very step in which it was given. */
  isGranted(): boolean;
  /** Gives the place in the queue up; does nothing once the turn has come. */
  leave(): void;
}

/** Those who wait for something scarce, first come first served. What there is to have, the owner knows. */
export class TurnQueue {
  readonly #waiting = new Set<() => void>();

  get size(): number {
    return this.#waiting.size;
  }

  join(): Turn {
    let granted = false;
    let come!: () => void;
    const promise = new Promise<void>((resolve) => {
      come = () => {
        granted = true;
        this.#waiting.delete(come);
        resolve();
      };
    });
    this.#waiting.add(come);
    return {
      promise,
      isGranted: () => granted,
      leave: () => {
        this.#waiting.delete(come);
      },
    };
  }

  /** Gives the first who waits its turn. */
  grant(): void {
    for (const come of this.#waiting) {
      come();
      return;
    }
  }
}
