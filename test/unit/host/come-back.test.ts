// Real processes: a node that was away while 50,000 messages went by on a stream that keeps them and on one that does not comes back by log and by
// snapshot; the others go on meanwhile, and nobody's memory grows with what was missed. `npm run large` does it with millions.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { expect, test } from 'vitest';
import { Target } from '../../conformance/target.ts';

const MESSAGES = 50_000;
const WINDOW = 500;
const SMALL = new Uint8Array(128).fill(120);
/** Enough for the log to be folded several times. */
const LARGE = new Uint8Array(32 * 1024).fill(121);
const MEMORY_MB_MAX = 400;
/** By so much longer than before may a window take while the node comes back; an election takes less. */
const GAP_MS_MAX = 5_000;
const BACK_WITHIN_MS = 300_000;

function peakMb(pid: number): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

async function lastSeqs(monitorUrl: string): Promise<string> {
  const text = await (await fetch(`${monitorUrl}/jsz?streams=true`)).text();
  const names = [...text.matchAll(/"name":\s*"(KEPT|CUT)"[\s\S]*?"messages":\s*(\d+)[\s\S]*?"last_seq":\s*(\d+)/g)];
  return names
    .map(([, name, messages, last]) => `${name} ${messages} ${last}`)
    .sort()
    .join(', ');
}

async function installed(monitorUrl: string): Promise<number> {
  const text = await (await fetch(`${monitorUrl}/metrics`)).text();
  return Number(/^flotilla_snapshot_transfers_total\{outcome="installed"\S* (\d+)/m.exec(text)?.[1]);
}

test('away while 50,000 messages went by', { timeout: 600_000 }, async () => {
  const target = new Target('flotilla');
  try {
    await target.start(3);
    const nc = await connect({ servers: target.urls[0] });
    const manager = await jetstreamManager(nc);
    await manager.streams.add({ name: 'KEPT', subjects: ['kept.>'], num_replicas: 3 });
    await manager.streams.add({ name: 'CUT', subjects: ['cut.>'], num_replicas: 3, max_msgs: 1_000 });
    const js = jetstream(nc, { timeout: 20_000 });
    let number = 0;
    // A leader that dies, or is started anew, leaves outcomes unknown: the same id again.
    const stored = async (subject: string, payload: Uint8Array): Promise<void> => {
      const msgID = `m${number++}`;
      for (let tries = 1; ; tries++) {
        try {
          await js.publish(subject, payload, { msgID });
          return;
        } catch (error) {
          if (tries === 50) throw error;
          await sleep(100);
        }
      }
    };
    /** The milliseconds of its longest window. */
    const publish = async (count: number): Promise<number> => {
      let longestMs = 0;
      for (let sent = 0; sent < count; sent += WINDOW) {
        const acks = Array.from({ length: WINDOW }, (_, i) =>
          i % 10 > 0 ? stored('kept.a', SMALL) : stored('cut.a', LARGE),
        );
        const sentMs = performance.now();
        await Promise.all(acks);
        longestMs = Math.max(longestMs, performance.now() - sentMs);
      }
      return longestMs;
    };
    await publish(WINDOW);
    await target.kill(2);
    await publish(WINDOW);
    const usualMs = await publish(MESSAGES);
    const before = [0, 1].map((i) => peakMb(target.pid(i) as number));

    target.launch(2);
    const startedMs = performance.now();
    const isLate = (): boolean => performance.now() - startedMs > BACK_WITHIN_MS;
    let longestMs = 0;
    while (!((await installed(target.monitorUrls[2]).catch(() => 0)) > 0) && !isLate()) {
      longestMs = Math.max(longestMs, await publish(WINDOW));
      await sleep(20);
    }
    longestMs = Math.max(longestMs, await publish(WINDOW));
    // Followers apply a moment later than they store.
    let equal = false;
    while (!equal && !isLate()) {
      await sleep(100);
      const states = await Promise.all(target.monitorUrls.map((url) => lastSeqs(url).catch(() => 'down')));
      equal = new Set(states).size === 1 && states[0].includes('CUT 1000 ');
    }
    expect(equal, target.logs()).toBe(true);
    expect(longestMs).toBeLessThan(usualMs + GAP_MS_MAX);
    expect(await installed(target.monitorUrls[2])).toBeGreaterThan(0);
    const after = [0, 1, 2].map((i) => peakMb(target.pid(i) as number));
    for (const mb of after) expect(mb).toBeLessThan(MEMORY_MB_MAX);
    // What was missed does not pile up where it is sent from.
    for (const i of [0, 1]) expect(after[i] - before[i]).toBeLessThan(100);
    await nc.close();
  } finally {
    await target.stop();
  }
});
