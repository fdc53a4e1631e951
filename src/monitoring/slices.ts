// Long work in short pieces: the event loop gets a turn between them. Called by scrapes and by /statusz, which look at every partition and
// consumer. Invariant: one piece takes SLICE_MS and at most one step more.
import { performance } from 'node:perf_hooks';

export const SLICE_MS = 3;

export interface SliceCounts {
  turns: number;
  steps: number;
}

export function nextTurn(): Promise<void> {
  return new Promise((resume) => setImmediate(resume));
}

/** Runs `steps` to its end. */
export async function inSlices(steps: Iterator<void>, counts?: SliceCounts): Promise<void> {
  for (;;) {
    const untilMs = performance.now() + SLICE_MS;
    if (counts !== undefined) counts.turns++;
    do {
      if (steps.next().done) return;
      if (counts !== undefined) counts.steps++;
    } while (performance.now() < untilMs);
    await nextTurn();
  }
}
