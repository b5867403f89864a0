/** Lets one waiter sleep until something may have changed, without missing a hint that came while it looked. */
export class Hint {
  #raised = false;
  #wake: (() => void) | undefined;

  /** Call before a look: hints from here on count. */
  clear(): void {
    this.#raised = false;
  }

  readonly raise = (): void => {
    this.#raised = true;
    this.#wake?.();
    this.#wake = undefined;
  };

  /** Resolves at the next hint, at once if one came since `clear()`. */
  wait(): Promise<void> {
    if (this.#raised) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
