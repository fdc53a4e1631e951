// The delivered and unacknowledged messages of one consumer, ascending by stream seq, in typed arrays: 20 bytes per message
// (28 on the leader, which also keeps due times). Messages enter at the end (first deliveries ascend) and leave anywhere.
// Pure; owned by consumer-record.ts (replicated) and delivery-consumer.ts (leader). Invariant: seqs strictly ascend from
// `head` to `tail`, deliveries 0 marks a slot whose message left, slot `head` is live unless the set is empty.

const CAPACITY_MIN = 16;
/** An empty set above this capacity gives its memory back. */
const CAPACITY_KEPT_MAX = 4096;

export class PendingSet {
  readonly #timed: boolean;
  #seqs = new Float64Array(0);
  #consumerSeqs = new Float64Array(0);
  #deliveries = new Uint32Array(0);
  #dues = new Float64Array(0);
  #head = 0;
  #tail = 0;
  #size = 0;
  #redelivered = 0;

  /** `timed`: with a due time per message. */
  constructor(timed: boolean) {
    this.#timed = timed;
  }

  get size(): number {
    return this.#size;
  }

  /** Messages delivered more than once. */
  get redelivered(): number {
    return this.#redelivered;
  }

  /** Slots are valid until the next add or remove; walk them with first/next. */
  first(): number {
    return this.#size === 0 ? -1 : this.#head;
  }

  next(slot: number): number {
    for (let i = slot + 1; i < this.#tail; i++) if (this.#deliveries[i] !== 0) return i;
    return -1;
  }

  seqAt(slot: number): number {
    return this.#seqs[slot];
  }

  /** Consumer seq of the first delivery. */
  consumerSeqAt(slot: number): number {
    return this.#consumerSeqs[slot];
  }

  deliveriesAt(slot: number): number {
    return this.#deliveries[slot];
  }

  dueAt(slot: number): number {
    return this.#dues[slot];
  }

  setDue(slot: number, dueMs: number): void {
    this.#dues[slot] = dueMs;
  }

  setDeliveries(slot: number, deliveries: number): void {
    if (this.#deliveries[slot] > 1) this.#redelivered--;
    this.#deliveries[slot] = deliveries;
    if (deliveries > 1) this.#redelivered++;
  }

  /** Slot of a seq, -1 when it is not pending. */
  find(seq: number): number {
    const slot = this.#lowerBound(seq);
    return slot < this.#tail && this.#seqs[slot] === seq && this.#deliveries[slot] !== 0 ? slot : -1;
  }

  has(seq: number): boolean {
    return this.find(seq) >= 0;
  }

  /** Smallest pending seq; 0 when empty. */
  get firstSeq(): number {
    return this.#size === 0 ? 0 : this.#seqs[this.#head];
  }

  add(seq: number, consumerSeq: number, deliveries: number, dueMs: number): void {
    if (this.#tail > this.#head && seq <= this.#seqs[this.#tail - 1]) {
      throw new Error(`pending seq ${seq} does not follow ${this.#seqs[this.#tail - 1]}`);
    }
    if (this.#tail === this.#seqs.length) this.#makeRoom();
    const slot = this.#tail++;
    this.#seqs[slot] = seq;
    this.#consumerSeqs[slot] = consumerSeq;
    this.#deliveries[slot] = deliveries;
    if (this.#timed) this.#dues[slot] = dueMs;
    this.#size++;
    if (deliveries > 1) this.#redelivered++;
  }

  /** What the other has, with due times; returns the earliest, Infinity when there is nothing. */
  copyFrom(other: PendingSet, dueOf: (deliveries: number) => number): number {
    const count = other.#tail - other.#head;
    this.#seqs = other.#seqs.slice(other.#head, other.#tail);
    this.#consumerSeqs = other.#consumerSeqs.slice(other.#head, other.#tail);
    this.#deliveries = other.#deliveries.slice(other.#head, other.#tail);
    this.#dues = new Float64Array(count);
    this.#head = 0;
    this.#tail = count;
    this.#size = other.#size;
    this.#redelivered = other.#redelivered;
    let earliest = Number.POSITIVE_INFINITY;
    for (let slot = 0; slot < count; slot++) {
      if (this.#deliveries[slot] === 0) continue;
      const due = dueOf(this.#deliveries[slot]);
      this.#dues[slot] = due;
      if (due < earliest) earliest = due;
    }
    return earliest;
  }

  /** False when it was not pending. */
  remove(seq: number): boolean {
    const slot = this.find(seq);
    if (slot < 0) return false;
    this.#clear(slot);
    this.#skipCleared();
    return true;
  }

  /** Removes every seq up to and including `seq`; `onRemoved` sees them ascending. */
  removeUpTo(seq: number, onRemoved: (seq: number) => void): void {
    while (this.#size > 0 && this.#seqs[this.#head] <= seq) {
      const removed = this.#seqs[this.#head];
      this.#clear(this.#head);
      this.#skipCleared();
      onRemoved(removed);
    }
  }

  clear(): void {
    this.#size = 0;
    this.#redelivered = 0;
    this.#skipCleared();
  }

  #clear(slot: number): void {
    if (this.#deliveries[slot] > 1) this.#redelivered--;
    this.#deliveries[slot] = 0;
    this.#size--;
  }

  #skipCleared(): void {
    if (this.#size === 0) {
      this.#head = 0;
      this.#tail = 0;
      if (this.#seqs.length > CAPACITY_KEPT_MAX) {
        this.#seqs = new Float64Array(0);
        this.#consumerSeqs = new Float64Array(0);
        this.#deliveries = new Uint32Array(0);
        this.#dues = new Float64Array(0);
      }
      return;
    }
    while (this.#deliveries[this.#head] === 0) this.#head++;
  }

  #lowerBound(seq: number): number {
    let low = this.#head;
    let high = this.#tail;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#seqs[middle] < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Closes the gaps of messages that left; doubles only when more than half of the slots are live. */
  #makeRoom(): void {
    const capacity = Math.max(CAPACITY_MIN, this.#size * 2);
    const grow = capacity > this.#seqs.length;
    const seqs = grow ? new Float64Array(capacity) : this.#seqs;
    const consumerSeqs = grow ? new Float64Array(capacity) : this.#consumerSeqs;
    const deliveries = grow ? new Uint32Array(capacity) : this.#deliveries;
    const dues = grow && this.#timed ? new Float64Array(capacity) : this.#dues;
    let to = 0;
    for (let from = this.#head; from < this.#tail; from++) {
      if (this.#deliveries[from] === 0) continue;
      seqs[to] = this.#seqs[from];
      consumerSeqs[to] = this.#consumerSeqs[from];
      deliveries[to] = this.#deliveries[from];
      if (this.#timed) dues[to] = this.#dues[from];
      to++;
    }
    this.#seqs = seqs;
    this.#consumerSeqs = consumerSeqs;
    this.#deliveries = deliveries;
    this.#dues = dues;
    this.#head = 0;
    this.#tail = to;
  }
}
