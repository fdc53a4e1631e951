// Removals in parts with everything else between the parts: replicas, one of them again and again from a snapshot in the middle, stay equal, the
// tables stay whole, and in the end the limits hold. Deterministic by seed.
import { expect, test } from 'vitest';
import {
  BatchBuilder,
  CommandType,
  EXPIRE_BACKLOG,
  encodeConfig,
  encodeDelete,
  encodeExpire,
  encodePurge,
  ROLLUP_ALL,
  ROLLUP_SUBJECT,
} from '../../../src/stream/batch-codec.ts';
import type { StreamConfig } from '../../../src/stream/config.ts';
import { compileFilter } from '../../../src/stream/consumer-filter.ts';
import { createConsumerTable } from '../../../src/stream/consumers.ts';
import { StreamMachine } from '../../../src/stream/machine.ts';
import { createPrng } from '../../sim/prng.ts';
import { streamConfig } from './fake-world.ts';

const EMPTY = new Uint8Array(0);
const make = (seed: number) => new StreamMachine({ consumers: createConsumerTable, seed, toLocalFirst: (f) => f });
function check(m: StreamMachine) {
  const { index } = m;
  const seqs: number[] = [];
  for (let s = index.nextFrom(0); s !== 0; s = index.nextFrom(s + 1)) seqs.push(s);
  expect(seqs.length).toBe(index.messages);
  expect(index.firstSeq).toBe(seqs[0] ?? index.lastSeq + 1);
  const back: number[] = [];
  for (let s = index.lastUpTo(index.lastSeq); s !== 0; s = index.lastUpTo(s - 1)) back.push(s);
  expect(back.reverse()).toEqual(seqs);
  let bytes = 0;
  const by = new Map<string, number[]>();
  for (const s of seqs) {
    bytes += index.sizeOf(s);
    const n = index.subjectOf(s);
    by.set(n, [...(by.get(n) ?? []), s]);
  }
  expect(bytes).toBe(index.bytes);
  expect(by.size).toBe(index.subjects);
  for (const [n, list] of by) {
    const f = compileFilter([n]);
    expect(index.count(0, f)).toBe(list.length);
    const walked: number[] = [];
    for (let s = index.next(0, f); s !== 0; s = index.next(s + 1, f)) walked.push(s);
    expect(walked).toEqual(list);
  }
}
test('any commands with little work for each entry', () => {
  for (let seed = 1; seed <= 100; seed++) {
    const r = createPrng(seed).float;
    let ms = [make(1), make(2), make(3)];
    let idx = 0;
    let rev = 1;
    let stamp = 1e6;
    const apply = (fill: (b: BatchBuilder) => void, work: number) => {
      idx++;
      stamp += 10;
      const b = new BatchBuilder();
      b.begin(ms[0].lastSeq + 1, stamp, work);
      fill(b);
      const body = b.finish();
      for (const m of ms) m.apply(idx, body);
    };
    const cfg = () =>
      streamConfig({
        max_msgs: [-1, -1, 40, 150][Math.floor(r() * 4)],
        max_msgs_per_subject: [-1, -1, 1, 3, 10][Math.floor(r() * 5)],
        max_bytes: [-1, -1, 4000][Math.floor(r() * 3)],
      });
    apply((b) => b.command(CommandType.config, encodeConfig(rev++, cfg())), 30);
    for (let step = 0; step < 60; step++) {
      const work = 1 + Math.floor(r() * 100);
      apply((b) => {
        let more = 1 + Math.floor(r() * 20);
        while (more-- > 0) {
          const k = r();
          if (k < 0.8)
            b.publish(
              `s.${Math.floor(r() * 3)}.${Math.floor(r() * 4)}`,
              EMPTY,
              new Uint8Array(Math.floor(r() * 50)),
              0,
              0,
              0,
              0,
            );
          else if (k < 0.86)
            b.publish(`s.${Math.floor(r() * 3)}.${Math.floor(r() * 4)}`, EMPTY, EMPTY, ROLLUP_SUBJECT, 0, 0, 0);
          else if (k < 0.865) b.publish(`s.1.1`, EMPTY, EMPTY, ROLLUP_ALL, 0, 0, 0);
          else if (k < 0.89) b.command(CommandType.config, encodeConfig(rev++, cfg()));
          else if (k < 0.94) b.command(CommandType.delete, encodeDelete(1 + Math.floor(r() * (ms[0].lastSeq + 1))));
          else if (k < 0.97)
            b.command(
              CommandType.purge,
              encodePurge({
                filter: ['', 's.1.1', 's.*.2', 's.2.>'][Math.floor(r() * 4)],
                below: 0,
                keep: Math.floor(r() * 5),
                from: 0,
                limit: 0,
                budget: 1 + Math.floor(r() * 60),
              }),
            );
          else b.command(CommandType.expire, encodeExpire(EXPIRE_BACKLOG, 0));
        }
      }, work);
      const parts: Uint8Array[] = [];
      if (r() < 0.3) {
        for (const p of ms[1].snapshot()) parts.push(new Uint8Array(p));
        const fresh = make(100 + step);
        const sink = fresh.restore();
        for (const p of parts) sink.push(p);
        sink.end();
        ms = [ms[0], ms[1], fresh];
      }
      const digests = ms.map((m) => m.digest());
      expect(new Set(digests).size).toBe(1);
      expect(ms.map((m) => [m.settledSeq, m.hasBacklog, m.index.messages])).toEqual(
        Array(3).fill([ms[0].settledSeq, ms[0].hasBacklog, ms[0].index.messages]),
      );
      if (step % 5 === 0) check(ms[2]);
    }
    let guard = 0;
    while (ms[0].hasBacklog) {
      apply((b) => b.command(CommandType.expire, encodeExpire(EXPIRE_BACKLOG, 0)), 20);
      if (++guard > 2000) throw new Error('no end');
    }
    expect(ms[0].settledSeq).toBe(ms[0].lastSeq);
    const c = ms[0].config as StreamConfig;
    const { index } = ms[0];
    if (c.max_msgs > 0) expect(index.messages).toBeLessThanOrEqual(c.max_msgs);
    if (c.max_bytes > 0) expect(index.bytes).toBeLessThanOrEqual(c.max_bytes);
    if (c.max_msgs_per_subject > 0)
      index.eachSubject(compileFilter([]), (id) =>
        expect(index.countOfSubject(id)).toBeLessThanOrEqual(c.max_msgs_per_subject),
      );
    for (const m of ms) check(m);
  }
}, 60_000);
