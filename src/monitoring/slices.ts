// Long work in short pieces: the event loop gets a turn between them. Called by scrapes and by /statusz, which look at every partition and
// consumer. Invariant: one piece takes SLICE_MS and at most one step more.
import { performance } from 'node:perf_hooks';

export const SLICE_MS = 2;

export interface SliceCounts {
  turns: number;
  steps: number;
}

export function nextTurn(): Promise<void> {
  return new Promise((resume) => setImmediate(resume));
}

/** Runs `steps` to its end; what follows begins in a turn of its own. */
export async function inSlices(steps: Iterator<void>, counts?: SliceCounts): Promise<void> {
  for (let over = false; !over; ) {
    const untilMs = performance.now() + SLICE_MS;
    if (counts !== undefined) counts.turns++;
    while (!over && performance.now() < untilMs) {
      over = steps.next().done === true;
      if (counts !== undefined && !over) counts.steps++;
    }
    await nextTurn();
  }
}
