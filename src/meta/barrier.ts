// Read barriers on the meta group that outlast a change of its leader: a barrier that fails is asked again, since asking
// changes nothing. Used by MetaClient, so that an API read during a failover is a short pause and not an error.
import type { Group } from '../../cluster/host/types.ts';
import type { Clock } from '../kit/env.ts';

const RETRY_MS = 50;
const BARRIER_MS_MAX = 2000;

/** `done` runs exactly once: true when everything is applied here that was committed when it was called, false after 2 s. */
export function readBarrier(clock: Clock, group: () => Group | undefined, done: (ok: boolean) => void): void {
  const dueMs = clock.nowMs() + BARRIER_MS_MAX;
  let settled = false;
  const settle = (ok: boolean): void => {
    if (settled) return;
    settled = true;
    clock.cancel(deadline);
    done(ok);
  };
  const deadline = clock.after(BARRIER_MS_MAX, () => settle(false));
  const retry = (): void => {
    if (!settled && clock.nowMs() + RETRY_MS < dueMs) clock.after(RETRY_MS, attempt);
  };
  const attempt = (): void => {
    if (settled) return;
    const meta = group();
    if (meta === undefined || meta.leader === 0) retry();
    else meta.readBarrier((ok) => (ok ? settle(true) : retry()));
  };
  attempt();
}
