/** What an item carries to be in one {@link IndexedHeap} at a time: its place there, -1 while it is in none. */
export interface Positioned {
  position: number;
}

/** A binary heap whose items know their place, so that any of them can be moved or taken out in O(log n). */
export class IndexedHeap<T extends Positioned> {
  readonly #items: T[] = [];
  readonly #before: (a: T, b: T) => boolean;

  /** @param before whether `a` comes out ahead of `b` */
  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#items.length;
  }

  /** The item that comes first, left in place. */
  peek(): T | undefined {
    return this.#items[0];
  }

  has(item: T): boolean {
    return this.#items[item.position] === item;
  }

  add(item: T): void {
    item.position = this.#items.length;
    this.#items.push(item);
    this.#rise(item);
  }

  /** Does nothing when the item is not in this heap. */
  remove(item: T): void {
    if (!this.has(item)) return;
    const place = item.position;
    item.position = -1;
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    this.#put(last, place);
    this.update(last);
  }

  /** Finds the item's place again after its order changed. */
  update(item: T): void {
    this.#rise(item);
    this.#sink(item);
  }

  #put(item: T, place: number): void {
    this.#items[place] = item;
    item.position = place;
  }

  #rise(item: T): void {
    for (;;) {
      const place = item.position;
      const parent = place === 0 ? undefined : this.#items[(place - 1) >> 1];
      if (parent === undefined || !this.#before(item, parent)) return;
      this.#put(item, parent.position);
      this.#put(parent, place);
    }
  }

  #sink(item: T): void {
    for (;;) {
      const place = item.position;
      const left = this.#items[2 * place + 1];
      const right = this.#items[2 * place + 2];
      const child = left !== undefined && right !== undefined && this.#before(right, left) ? right : left;
      if (child === undefined || !this.#before(child, item)) return;
      this.#put(item, child.position);
      this.#put(child, place);
    }
  }
}
