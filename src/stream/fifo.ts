// A queue whose shift does not move what stays. Pure. Invariant: items before #head are gone.

const COMPACT_FROM = 64;

export class Fifo<T> {
  #items: T[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** The oldest; undefined when empty. */
  peek(): T | undefined {
    return this.#items[this.#head];
  }

  each(see: (item: T) => void): void {
    for (let i = this.#head; i < this.#items.length; i++) see(this.#items[i]);
  }

  some(is: (item: T) => boolean): boolean {
    for (let i = this.#head; i < this.#items.length; i++) if (is(this.#items[i])) return true;
    return false;
  }

  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined as T;
    if (this.#head === this.#items.length) {
      this.#items.length = 0;
      this.#head = 0;
    } else if (this.#head >= COMPACT_FROM && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** All items, oldest first; the queue is empty afterwards. */
  drain(): T[] {
    const items = this.#head === 0 ? this.#items : this.#items.slice(this.#head);
    this.#items = [];
    this.#head = 0;
    return items;
  }
}
