/** What an item carries to be in one {@link LinkedList} at a time. */
export interface Linked<T extends Linked<T>> {
  list: LinkedList<T> | undefined;
  previous: T | undefined;
  next: T | undefined;
}

/**
 * A doubly linked list that keeps its links in the items themselves: taking an item out of the middle costs the
 * same as taking the first, and an item that is in no list costs nothing beside three empty fields.
 */
export class LinkedList<T extends Linked<T>> {
  first: T | undefined;
  last: T | undefined;
  size = 0;

  /** Adds an item that is in no list at the end. */
  push(item: T): void {
    item.list = this;
    item.previous = this.last;
    if (this.last === undefined) this.first = item;
    else this.last.next = item;
    this.last = item;
    this.size++;
  }

  /** Adds an item that is in no list at the front. */
  unshift(item: T): void {
    item.list = this;
    item.next = this.first;
    if (this.first === undefined) this.last = item;
    else this.first.previous = item;
    this.first = item;
    this.size++;
  }

  /** Takes an item out. False when it is not in this list. */
  remove(item: T): boolean {
    if (item.list !== this) return false;
    if (item.previous === undefined) this.first = item.next;
    else item.previous.next = item.next;
    if (item.next === undefined) this.last = item.previous;
    else item.next.previous = item.previous;
    item.list = undefined;
    item.previous = undefined;
    item.next = undefined;
    this.size--;
    return true;
  }
}
