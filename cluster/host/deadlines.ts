// One timer for all groups of the node: the host asks for the groups that are due. A heap of (time, group); a group whose deadline has
// moved back stays where it is and is looked at again when it comes up, so hearing from a leader costs nothing here and a sleeping
// group is not in it at all. Those that are looked at in vain come up again at a line of the grid on which heartbeats leave, with the others,
// and only the last time at their own moment. Invariant: a group with a finite deadline is in the heap at or before that time.
import { defaultLimits, gridLine } from '../core/limits.ts';

/** A small integer, as deadlines are: a field that may hold another kind of number is kept in a place apart. */
export const NOT_QUEUED_MS = -1;

export interface HasDeadline {
  /** Infinity: none. */
  readonly deadlineMs: number;
  /** Key of its valid entry in the heap; NOT_QUEUED_MS: it has none. Written here only. */
  queuedMs: number;
}

export class Deadlines<T extends HasDeadline> {
  private readonly times: number[] = [];
  private readonly items: T[] = [];

  /** The earliest time at which something may be due; Infinity when nothing is. */
  get nextMs(): number {
    return this.times.length > 0 ? this.times[0] : Number.POSITIVE_INFINITY;
  }

  /** Call when the item's deadline may have come nearer. */
  update(item: T): void {
    const ms = item.deadlineMs;
    if (ms < item.queuedMs || (item.queuedMs === NOT_QUEUED_MS && ms !== Number.POSITIVE_INFINITY))
      this.queue(ms, item);
  }

  /** Takes everything that is due; `due` may call update. */
  take(nowMs: number, due: (item: T) => void): void {
    while (this.times.length > 0 && this.times[0] <= nowMs) {
      const ms = this.times[0];
      const item = this.pop();
      // An earlier entry took its place.
      if (ms !== item.queuedMs) continue;
      item.queuedMs = NOT_QUEUED_MS;
      if (item.deadlineMs <= nowMs) due(item);
      else this.lookAgain(nowMs, item);
    }
  }

  private lookAgain(nowMs: number, item: T): void {
    const ms = item.deadlineMs;
    if (ms === Number.POSITIVE_INFINITY) return;
    const line = gridLine(defaultLimits, ms);
    this.queue(line > nowMs ? line : ms, item);
  }

  private queue(ms: number, item: T): void {
    item.queuedMs = ms;
    this.push(ms, item);
  }

  private push(ms: number, item: T): void {
    const { times, items } = this;
    let at = times.length;
    times.push(ms);
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (times[parent] <= ms) break;
      times[at] = times[parent];
      items[at] = items[parent];
      at = parent;
    }
    times[at] = ms;
    items[at] = item;
  }

  private pop(): T {
    const { times, items } = this;
    const top = items[0];
    const ms = times.pop()!;
    const item = items.pop()!;
    if (times.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= times.length) break;
      if (child + 1 < times.length && times[child + 1] < times[child]) child++;
      if (times[child] >= ms) break;
      times[at] = times[child];
      items[at] = items[child];
      at = child;
    }
    times[at] = ms;
    items[at] = item;
    return top;
  }
}
