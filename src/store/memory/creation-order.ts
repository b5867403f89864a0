/** Something with its place in the order of creation. */
export interface Created {
  readonly created: number;
}

const CHUNK = 256;

/**
 * Items in the order of their creation, in chunks of a few hundred: adding at the end, taking out of the middle and
 * finding a place again after its item has gone all cost O(log n), and a page costs its own length.
 */
export class CreationOrder<T extends Created> {
  /** None is empty. */
  readonly #chunks: T[][] = [];

  get isEmpty(): boolean {
    return this.#chunks.length === 0;
  }

  /** Adds an item that was created after all others. */
  push(item: T): void {
    const last = this.#chunks.at(-1);
    if (last === undefined || last.length >= CHUNK) this.#chunks.push([item]);
    else last.push(item);
  }

  remove(item: T): void {
    const at = search(this.#chunks, (chunk) => (chunk[0]?.created ?? 0) <= item.created) - 1;
    const chunk = this.#chunks[at];
    if (chunk === undefined) return;
    const place = search(chunk, (other) => other.created < item.created);
    if (chunk[place] !== item) return;
    chunk.splice(place, 1);
    if (chunk.length === 0) this.#chunks.splice(at, 1);
  }

  /** The newest items that were created before `before`, newest first. */
  page(before: number, limit: number): T[] {
    const page: T[] = [];
    let at = search(this.#chunks, (chunk) => (chunk[0]?.created ?? 0) < before) - 1;
    for (let chunk = this.#chunks[at]; chunk !== undefined; chunk = this.#chunks[--at]) {
      for (let place = search(chunk, (item) => item.created < before) - 1; place >= 0; place--) {
        const item = chunk[place];
        if (page.length === limit) return page;
        if (item !== undefined) page.push(item);
      }
    }
    return page;
  }
}

/** How many items at the beginning of a sorted list pass the test. */
function search<T>(items: readonly T[], passes: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const item = items[middle];
    if (item !== undefined && passes(item)) low = middle + 1;
    else high = middle;
  }
  return low;
}
