// Direct get of many messages: ranges, last messages of subjects, paging, bounds, and every status that ends or refuses one
// (ADR-31; nats-surface D1 to D5). The same stream for all: m1 to m10 on subjects b, c, a in turn, m4 deleted.

import { beforeAll, describe, expect, test } from 'vitest';
import { differs } from './differences.ts';
import { exchange, type Frame, generations, ok, open, pause, put, type Session, stream } from './harness.ts';

let sessions: Session[];
/** Replicated, on one node, and of four partitions where there are such. */
const names: string[] = [];
let beforeM6: string;

beforeAll(async () => {
  sessions = [await open(generations[1]), await open(generations[1], 1), await open(generations[1], 2)];
  for (const num_replicas of [3, 1]) {
    const name = await stream(sessions[0], { allow_direct: true, num_replicas });
    names.push(name);
    for (let i = 1; i <= 10; i++) {
      if (i === 6) await pause(5);
      await put(sessions[0], `${name}.${'abc'[i % 3]}`, `m${i}`, i === 7 ? { Own: 'yes' } : {});
    }
    await ok(sessions[0], `STREAM.MSG.DELETE.${name}`, { seq: 4 });
  }
  const { message } = await ok(sessions[0], `STREAM.MSG.GET.${names[0]}`, { seq: 6 });
  beforeM6 = (message as { time: string }).time;
});

function told(frame: Frame): string {
  const of = (key: string): string => frame.headers[`Nats-${key}`] ?? '';
  if (frame.status > 0) {
    const place = [of('Num-Pending'), of('Last-Sequence'), of('UpTo-Sequence')].join(' ').trim();
    return `${frame.line} ${place}`.trim();
  }
  return [frame.text, of('Sequence'), of('Num-Pending'), of('Last-Sequence')].join(' ').trim();
}

async function get(session: Session, name: string, body: unknown, tail = ''): Promise<string[]> {
  const isLast = ({ status, headers }: Frame): boolean => status > 0 || headers['Nats-Num-Pending'] === undefined;
  const text = typeof body === 'string' ? body : JSON.stringify(body).replaceAll('@', name);
  const frames = await exchange(session, `$JS.API.DIRECT.GET.${name}${tail}`, text, (all) => {
    const last = all.at(-1);
    // Without headers nothing tells a batch's message from a single one.
    return last !== undefined && isLast(last) && !text.includes('"batch":2,"no_hdr"') ? true : last?.status === 204;
  });
  return frames.map(told);
}

/** Frames of a batch: its seqs, how many matched, and what its end says beside. */
function batch(seqs: number[], matched: number, upTo: number | '' = ''): string[] {
  let last = 0;
  const frames = seqs.map((seq, i) => {
    const frame = `m${seq} ${seq} ${matched - i - 1} ${last}`;
    last = seq;
    return frame;
  });
  return [...frames, `204 EOB ${matched - seqs.length} ${last} ${upTo}`.trim()];
}

const ALL = ['@.>'];

const ROWS: [body: unknown, frames: string[]][] = [
  [{}, ['408 Empty Request']],
  [{ batch: 3 }, ['408 Empty Request']],
  [{ seq: 0, batch: 1 }, ['408 Empty Request']],
  [{ multi_last: [] }, ['408 Empty Request']],
  [{ up_to_seq: 5, batch: 2 }, ['408 Empty Request']],
  [{ next_by_subj: '', batch: 1 }, ['408 Empty Request']],
  ['garbage', ['408 Malformed Request']],
  ['{"seq":"x"}', ['408 Malformed Request']],
  [{ multi_last: '@.a' }, ['408 Malformed Request']],
  [{ last_by_subj: '@.a', batch: 2 }, ['408 Bad Request']],
  [{ seq: 1, last_by_subj: '@.a' }, ['408 Bad Request']],
  [{ seq: 1, start_time: '2020-01-01T00:00:00Z', batch: 2 }, ['408 Bad Request']],
  [{ next_by_subj: '@.a', multi_last: ['@.a'] }, ['408 Bad Request']],
  [{ multi_last: ALL, last_by_subj: '@.a' }, ['408 Bad Request']],
  [{ multi_last: ALL, up_to_seq: 7, up_to_time: '2020-01-01T00:00:00Z' }, ['408 Bad Request']],
  [{ seq: 99 }, ['404 Message Not Found']],
  [{ seq: 4 }, ['404 Message Not Found']],
  [{ seq: 11, batch: 2 }, ['404 Message Not Found']],
  [{ next_by_subj: 'x.y', batch: 2 }, ['404 Message Not Found']],
  [{ next_by_subj: '@..a', batch: 1 }, ['404 Message Not Found']],
  [{ next_by_subj: '@.a', seq: 10, batch: 1 }, ['404 Message Not Found']],
  [{ multi_last: ['x'] }, ['404 No Results']],
  [{ multi_last: [''] }, ['404 No Results']],
  [{ multi_last: ['@..a'] }, ['404 No Results']],
  [{ multi_last: ALL, up_to_seq: 11 }, ['404 No Results']],
  [{ multi_last: ALL, up_to_time: '2000-01-01T00:00:00Z' }, ['404 No Results']],
  [{ seq: 7 }, ['m7 7']],
  [{ foo: 1, seq: 2 }, ['m2 2']],
  [{ max_bytes: 5, seq: 2 }, ['m2 2']],
  [{ seq: 1, batch: 0 }, ['m1 1']],
  [{ seq: 7, no_hdr: true }, ['m7']],
  [{ next_by_subj: '@.a', seq: 5 }, ['m6 6']],
  [{ seq: 2, batch: 3 }, batch([2, 3, 5], 8)],
  [{ seq: 4, batch: 2 }, batch([5, 6], 6)],
  [{ seq: 9, batch: 2 }, batch([9, 10], 2)],
  [{ seq: 9, batch: 1 }, batch([9], 2)],
  [{ seq: 1, batch: 100 }, batch([1, 2, 3, 5, 6, 7, 8, 9, 10], 9)],
  [{ seq: 1, batch: -1 }, batch([], 9)],
  [{ next_by_subj: '@.a', batch: 2 }, batch([3, 6], 3)],
  [{ next_by_subj: '@.a', batch: 5, seq: 4 }, batch([6, 9], 2)],
  [{ next_by_subj: '@.*', seq: 5, batch: 2 }, batch([5, 6], 6)],
  [{ next_by_subj: '@.>', batch: 2, seq: 1, up_to_seq: 4 }, batch([1, 2], 9)],
  [{ seq: 1, batch: 10, max_bytes: 1 }, batch([1], 9)],
  [{ seq: 1, batch: 10, max_bytes: -1 }, batch([1], 9)],
  [{ seq: 1, batch: 2, no_hdr: true }, ['m1', 'm2', '204 EOB 9 2']],
  [{ multi_last: ['@.a', '@.b'] }, batch([9, 10], 2, 10)],
  [{ multi_last: ALL }, batch([8, 9, 10], 3, 10)],
  [{ multi_last: ['@.a', '@.*'] }, batch([8, 9, 10], 3, 10)],
  [{ multi_last: ['@.a', '@.a'] }, batch([9], 1, 10)],
  [{ multi_last: ALL, batch: 2 }, batch([8, 9], 3, 10)],
  [{ multi_last: ALL, batch: 0 }, batch([8, 9, 10], 3, 10)],
  [{ multi_last: ALL, batch: -5 }, batch([8, 9, 10], 3, 10)],
  [{ multi_last: ALL, max_bytes: 1 }, batch([8], 3, 10)],
  [{ multi_last: ALL, seq: 9 }, batch([9, 10], 2, 10)],
  [{ multi_last: ALL, seq: 11 }, batch([], 0, 10)],
  [{ multi_last: ALL, up_to_seq: 10 }, batch([8, 9, 10], 3, 10)],
  [{ multi_last: ALL, up_to_seq: 7 }, batch([5, 6, 7], 3, 7)],
  [{ multi_last: ALL, up_to_seq: 4 }, batch([1, 2, 3], 3, 4)],
  [{ multi_last: ALL, up_to_seq: 1 }, batch([1], 1, 1)],
  [{ multi_last: ALL, seq: 9, up_to_seq: 5 }, batch([], 0, 5)],
  [{ multi_last: ALL, seq: 9, up_to_seq: 10, batch: 1 }, batch([9], 2, 10)],
  [{ multi_last: ALL, no_hdr: true }, batch([8, 9, 10], 3, 10)],
];

describe('direct get', () => {
  test.each(ROWS.map(([body, frames]): [string, unknown, string[]] => [JSON.stringify(body), body, frames]))(
    '%s',
    async (_, body, frames) => {
      const wanted = { body, frames };
      for (const name of names) {
        // The replicas of nats-server answer for themselves; Flotilla's answer is the same through every node.
        const asked = differs('direct-get-consistent') ? sessions.slice(0, 1) : sessions;
        for (const session of asked) expect({ body, frames: await get(session, name, body) }).toEqual(wanted);
      }
    },
  );

  test('by time', async () => {
    const [name] = names;
    const [s] = sessions;
    expect(await get(s, name, { start_time: beforeM6 })).toEqual(['m6 6']);
    expect(await get(s, name, { start_time: beforeM6, batch: 2 })).toEqual(batch([6, 7], 5));
    expect(await get(s, name, { next_by_subj: '@.a', start_time: beforeM6 })).toEqual(['m6 6']);
    expect(await get(s, name, { multi_last: ALL, up_to_time: beforeM6 })).toEqual(batch([1, 3, 5], 3, 5));
  });

  test.each([
    ['', '.@.a', ['m9 9']],
    ['', '.@.*', ['m10 10']],
    ['', '.nope', ['404 Message Not Found']],
    [{ no_hdr: true }, '.@.a', ['m9']],
    [{ seq: 1 }, '.@.a', ['408 Bad Request']],
    ['x', '.@.a', ['408 Malformed Request']],
  ])('a subject in the request: %j %s', async (body, tail, frames) => {
    expect(await get(sessions[0], names[0], body, tail.replace('@', names[0]))).toEqual(frames);
  });

  test('stored headers come before those of the position', async () => {
    const frames = await exchange(
      sessions[0],
      `$JS.API.DIRECT.GET.${names[0]}`,
      { seq: 7, batch: 1 },
      (all) => all.at(-1)?.status === 204,
    );
    expect(Object.keys(frames[0].headers)).toEqual([
      'Own',
      'Nats-Stream',
      'Nats-Subject',
      'Nats-Sequence',
      'Nats-Time-Stamp',
      'Nats-Num-Pending',
      'Nats-Last-Sequence',
    ]);
  });

  test('more subjects than one answer may have; a long range comes whole and in order', async () => {
    const [s] = sessions;
    const name = await stream(s, { allow_direct: true });
    for (let i = 0; i < 1500; i++) s.nc.publish(`${name}.${i % 1025}`, `m${i + 1}`);
    await put(s, `${name}.last`, 'm1501');
    expect(await get(s, name, { multi_last: ['@.>'] })).toEqual(['413 Too Many Results']);
    expect(await get(s, name, { multi_last: ['@.>'], batch: 5 })).toEqual(['413 Too Many Results']);
    const whole = Array.from({ length: 1501 }, (_, i) => i + 1);
    expect(await get(s, name, { seq: 1, batch: 5000 })).toEqual(batch(whole, 1501));
  });

  test.skipIf(differs('partitions'))('of several partitions: one order by seq, whatever the partition', async () => {
    const [s] = sessions;
    const name = await stream(s, { allow_direct: true, metadata: { 'flotilla.partitions': '4' } });
    const stored: number[] = [];
    for (let i = 0; i < 40; i++) stored.push((await put(s, `${name}.${i % 10}`, `x${i}`))['seq'] as number);
    stored.sort((a, b) => a - b);
    const seqs = (frames: string[]): number[] => frames.slice(0, -1).map((frame) => Number(frame.split(' ')[1]));
    for (const session of sessions) {
      const whole = await get(session, name, { seq: 1, batch: 100 });
      expect(seqs(whole)).toEqual(stored);
      expect(whole.map((frame) => Number(frame.split(' ')[2]))).toEqual(
        [...stored.keys(), 40].reverse().map((n, i) => (i < 40 ? n - 1 : 0)),
      );
      const part = await get(session, name, { seq: stored[20], batch: 5 });
      expect(seqs(part)).toEqual(stored.slice(20, 25));
      expect(part.at(-1)).toBe(`204 EOB 15 ${stored[24]}`);
      const last = seqs(await get(session, name, { multi_last: ['@.>'] }));
      expect(last).toHaveLength(10);
      expect(last).toEqual([...last].sort((a, b) => a - b));
      const before = seqs(await get(session, name, { multi_last: ['@.>'], up_to_seq: stored[20] }));
      expect(Math.max(...before)).toBeLessThanOrEqual(stored[20]);
    }
  });
});
