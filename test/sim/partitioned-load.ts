// A stream of four partitions: each subject has its place and its order, consumers see one stream. Two workers share a consumer with
// acks, a reader reads all of it in order and begins anew behind its last message when something is missing.
import type { History } from '../checkers/history.ts';
import { type OrderedReader, ordered } from './ordered-reader.ts';
import { type Run, StreamLoad } from './stream-load.ts';

const PARTITIONS = 4;
const CONSUMER = 'work';
const READER = 'ordered';

export class PartitionedLoad extends StreamLoad {
  #reader: OrderedReader | undefined;

  constructor(run: Run, name: string) {
    super(run, name, 3, PARTITIONS);
  }

  override setUp(): void {
    this.createStream({ metadata: { 'flotilla.partitions': String(PARTITIONS) } });
    this.createConsumer(CONSUMER);
  }

  override start(): void {
    for (let c = 0; c < 3; c++) {
      const subject = (n: number): string => `${this.name.toLowerCase()}.${c}.${n % 11}`;
      this.publisher({ number: c, host: this.host(c), withIds: c === 0, gapMs: 60, subject });
    }
    for (let w = 0; w < 2; w++) this.worker(CONSUMER, w, this.host(w + 1));
    this.#reader = ordered(this.run, this.name, this.client('reader', this.host(2)), (event) => this.record(event));
  }

  /** Nothing waits in any partition, and the reader has come to the last message. */
  override isDone(): boolean {
    return this.pendingOf(CONSUMER) === 0 && this.#reader!.lastSeq >= this.#lastSeq();
  }

  /** Of the last message in any partition. */
  #lastSeq(): number {
    let last = 0;
    for (const event of this.events) if (event.kind === 'acked') last = Math.max(last, event.seq);
    return last;
  }

  protected override judge(): Partial<History> {
    return { drained: [CONSUMER, READER] };
  }

  /** What the reader hands on ascends over all partitions: none comes twice, and none after a later one. */
  override findings(): string[] {
    const findings = super.findings();
    let last = 0;
    for (const event of this.events) {
      if (event.kind !== 'delivered' || event.consumer !== READER) continue;
      if (event.seq <= last)
        findings.push(`order: ${this.name}: the ordered reader got seq ${event.seq} after ${last}`);
      last = event.seq;
    }
    return findings;
  }
}
