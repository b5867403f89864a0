import { deferred, type Deferred } from "../../internal/deferred.js";

/** What became of one item of a group. */
export type ItemResult<TResult> = { readonly value: TResult } | { readonly error: Error };

export interface GathererOptions<TItem, TResult> {
  /** Does a group in one step; results in the order of the items. When it rejects, all of them do. */
  readonly run: (items: readonly TItem[]) => Promise<readonly ItemResult<TResult>[]>;
  /** How many groups may be under way at once. */
  readonly lanes: number;
  /** The most items of a group. */
  readonly maxItems: number;
}

interface Waiting<TItem, TResult> {
  readonly item: TItem;
  readonly result: Deferred<TResult>;
}

/**
 * Sends what comes at once, and what comes while all lanes are busy together: with little to do nothing waits, with
 * much to do many items share a round trip.
 */
export class Gatherer<TItem, TResult> {
  readonly #options: GathererOptions<TItem, TResult>;
  #waiting: Waiting<TItem, TResult>[] = [];
  #busy = 0;

  constructor(options: GathererOptions<TItem, TResult>) {
    this.#options = options;
  }

  add(item: TItem): Promise<TResult> {
    const result = deferred<TResult>();
    this.#waiting.push({ item, result });
    this.#next();
    return result.promise;
  }

  #next(): void {
    const { lanes, maxItems } = this.#options;
    if (this.#busy >= lanes || this.#waiting.length === 0) return;
    this.#busy++;
    const group = this.#waiting.slice(0, maxItems);
    this.#waiting = this.#waiting.slice(maxItems);
    void this.#run(group).finally(() => {
      this.#busy--;
      this.#next();
    });
  }

  async #run(group: readonly Waiting<TItem, TResult>[]): Promise<void> {
    try {
      const results = await this.#options.run(group.map(({ item }) => item));
      group.forEach(({ result }, i) => {
        const one = results[i];
        if (one === undefined) result.reject(new TypeError("A group gave fewer results than it has items"));
        else if ("error" in one) result.reject(one.error);
        else result.resolve(one.value);
      });
    } catch (error) {
      for (const { result } of group) result.reject(error);
    }
  }
}
