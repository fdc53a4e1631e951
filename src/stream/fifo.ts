// A queue whose shift does not move what stays: a ring. Pure. Invariant: items outside head..head + size are undefined.

const ROOM_FIRST = 4;
/** An empty queue gives more room than this back. */
const ROOM_KEPT = 64;

export class Fifo<T> {
  /** Its length is 0 or a power of two. */
  #items: (T | undefined)[] = [];
  #head = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(item: T): void {
    if (this.#size === this.#items.length) this.#grow();
    this.#items[(this.#head + this.#size++) & (this.#items.length - 1)] = item;
  }

  #at(n: number): T {
    return this.#items[(this.#head + n) & (this.#items.length - 1)] as T;
  }

  #grow(): void {
    const items: (T | undefined)[] = new Array(Math.max(ROOM_FIRST, this.#size * 2)).fill(undefined);
    for (let i = 0; i < this.#size; i++) items[i] = this.#at(i);
    this.#items = items;
    this.#head = 0;
  }

  /** The oldest; undefined when empty. */
  peek(): T | undefined {
    return this.#size === 0 ? undefined : this.#at(0);
  }

  each(see: (item: T) => void): void {
    for (let i = 0; i < this.#size; i++) see(this.#at(i));
  }

  some(is: (item: T) => boolean): boolean {
    for (let i = 0; i < this.#size; i++) if (is(this.#at(i))) return true;
    return false;
  }

  shift(): T | undefined {
    if (this.#size === 0) return undefined;
    const item = this.#at(0);
    this.#items[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#items.length - 1);
    this.#size--;
    if (this.#size === 0 && this.#items.length > ROOM_KEPT) this.#items = [];
    if (this.#size === 0) this.#head = 0;
    return item;
  }

  /** All items, oldest first; the queue is empty afterwards. */
  drain(): T[] {
    const items = Array.from({ length: this.#size }, (_, i) => this.#at(i));
    this.#items = [];
    this.#head = 0;
    this.#size = 0;
    return items;
  }
}
