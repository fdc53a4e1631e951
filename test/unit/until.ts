// Waiting for what happens in real time, in this process. Called by tests of parts on real sockets and files. The bound is one that only a hang
// meets; how long something may take is compared with the time that this process had, for a busy machine stops its clocks, not the world's.
const HANG_MS = 60_000;
const LOOK_EVERY_MS = 5;
/** A longer round was not ours: the machine gave the time to somebody else. */
const ROUND_MS_MAX = 50;

/** Resolves, with the milliseconds that this process had until then, when `condition` holds. */
export async function until(what: string, condition: () => boolean): Promise<number> {
  const startMs = performance.now();
  let ownMs = 0;
  let lookedMs = startMs;
  while (!condition()) {
    if (lookedMs - startMs > HANG_MS) throw new Error(`not within ${HANG_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    const nowMs = performance.now();
    ownMs += Math.min(nowMs - lookedMs, ROUND_MS_MAX);
    lookedMs = nowMs;
  }
  return ownMs;
}
