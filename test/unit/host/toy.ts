// A replicated log of texts for host tests: `put x` keeps its entry alive, `del <index>` lets it go, `pad` is only weight.
// Records every call in order, and checks that indexes come once and ascending.
import { crc32c } from '@node-rs/crc32';
import { type StateSink, wholeState } from '../../../cluster/host/state-sink.ts';
import type { GroupMachine } from '../../../cluster/host/types.ts';

export class ToyMachine implements GroupMachine {
  applied = 0;
  /** Running digest over everything applied. */
  sum = 0;
  count = 0;
  live = new Set<number>();
  calls: string[] = [];
  /** Its state is so much larger. */
  ballastBytes = 0;
  onApply: ((index: number, text: string) => void) | undefined;
  onLead: ((term: number) => void) | undefined;
  onLost: ((leader: number) => void) | undefined;

  apply(index: number, term: number, body: Uint8Array): void {
    if (index <= this.applied) throw new Error(`index ${index} after ${this.applied}`);
    this.applied = index;
    const text = Buffer.from(body).toString();
    this.sum = crc32c(`${this.sum} ${index} ${term} ${text}`);
    this.count++;
    if (text.startsWith('put ')) this.live.add(index);
    if (text.startsWith('del ')) this.live.delete(Number(text.slice(4)));
    this.onApply?.(index, text);
  }

  onLeading(term: number): void {
    this.calls.push(`leading ${term}`);
    this.onLead?.(term);
  }

  onNotLeading(leader: number): void {
    this.calls.push(`not leading, ${leader}`);
    this.onLost?.(leader);
  }

  onPause(paused: boolean): void {
    this.calls.push(paused ? 'paused' : 'goes on');
  }

  snapshot(): Uint8Array[] {
    const ballast = `${this.sum} `.repeat(this.ballastBytes / 8);
    const head = Buffer.from(JSON.stringify({ sum: this.sum, count: this.count, live: [...this.live], ballast }));
    // Two parts, as real machines have.
    return [head.subarray(0, 5), head.subarray(5)];
  }

  restore(index: number): StateSink {
    return wholeState((state) => this.become(index, state));
  }

  private become(index: number, state: Uint8Array | undefined): void {
    this.calls.push(`restore ${index}`);
    this.applied = index;
    if (state === undefined) {
      this.sum = 0;
      this.count = 0;
      this.live = new Set();
      return;
    }
    const { sum, count, live, ballast } = JSON.parse(Buffer.from(state).toString()) as {
      sum: number;
      count: number;
      live: number[];
      ballast: string;
    };
    if (ballast !== `${sum} `.repeat(this.ballastBytes / 8)) throw new Error(`ballast of ${ballast.length} bytes`);
    this.sum = sum;
    this.count = count;
    this.live = new Set(live);
  }

  isEntryLive(index: number): boolean {
    return this.live.has(index);
  }

  digest(): string {
    return this.sum.toString(16).padStart(32, '0');
  }
}
