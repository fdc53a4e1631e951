import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { crc32c } from '@node-rs/crc32';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeMembership } from '../../../cluster/core/membership.ts';
import type { LogEntry, RaftMessage } from '../../../cluster/core/types.ts';
import {
  encodeFrame,
  FRAME_BYTES_MAX,
  type FrameHeader,
  FrameParser,
  HANDSHAKE_FRAME_BYTES_MAX,
  splitData,
  writeU32,
} from '../../../cluster/rpc/codec.ts';
import { decodeRaftBatch, RaftBatchWriter } from '../../../cluster/rpc/raft-codec.ts';

const bytes = (max: number) => fc.uint8Array({ maxLength: max });
const join = (parts: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });

function collect(max = FRAME_BYTES_MAX) {
  const got: { header: FrameHeader; body: string }[] = [];
  const parser = new FrameParser(max, (header, body) => got.push({ header, body: Buffer.from(body).toString('hex') }));
  return { parser, got };
}

describe('frames', () => {
  test('survive any split', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(bytes(40), { maxLength: 4 }), { minLength: 1, maxLength: 5 }),
        fc.array(fc.nat(30)),
        (frames, cuts) => {
          const stream = join(
            frames.flatMap((messages) =>
              encodeFrame(
                { data: { channel: messages.map(() => 3), length: messages.map((m) => m.length) } },
                messages,
              ),
            ),
          );
          const { parser, got } = collect();
          let at = 0;
          for (let i = 0; at < stream.length; i++) {
            const end = cuts.length === 0 ? stream.length : Math.min(stream.length, at + cuts[i % cuts.length] + 1);
            expect(parser.push(stream.slice(at, end))).toBeUndefined();
            at = end;
          }
          expect(got.map((g) => g.body)).toEqual(frames.map((m) => Buffer.concat(m).toString('hex')));
          for (const [i, { header }] of got.entries())
            expect(header.data!.length).toEqual(frames[i].map((m) => m.length));
        },
      ),
      { numRuns: 200 },
    );
  });

  test('split at every byte', () => {
    const parts = encodeFrame(
      { heartbeat: { bootId: 2 ** 47 + 1, wallUs: 1.7e15, durable: 7, durableSeen: 9, diskLow: true } },
      [],
    );
    const stream = join([
      ...parts,
      ...encodeFrame({ data: { channel: [1], length: [3_000] } }, [new Uint8Array(3_000).fill(5)]),
    ]);
    for (let cut = 0; cut <= stream.length; cut++) {
      const { parser, got } = collect();
      parser.push(stream.slice(0, cut));
      expect(parser.push(stream.slice(cut))).toBeUndefined();
      expect(got.length).toBe(2);
      expect(got[0].header.heartbeat).toMatchObject({ bootId: 2 ** 47 + 1, wallUs: 1.7e15 });
    }
  });

  test('any flipped bit is found, and nothing of that frame or after it comes through', () => {
    const stream = join(
      [0, 1, 2].flatMap((n) => encodeFrame({ data: { channel: [1], length: [20] } }, [new Uint8Array(20).fill(n)])),
    );
    const frameBytes = stream.length / 3;
    for (let at = 0; at < stream.length; at++) {
      const bad = stream.slice();
      bad[at] ^= 1 << (at % 8);
      const { parser, got } = collect();
      const wrong = parser.push(bad);
      const hit = Math.floor(at / frameBytes);
      expect(got.map((g) => g.body)).toEqual([0, 1, 2].slice(0, hit).map((n) => Buffer.alloc(20, n).toString('hex')));
      // A length that became larger waits for bytes that never come; everything else is an error at once.
      if (wrong === undefined) expect(at % frameBytes).toBeLessThan(4);
      if (wrong !== undefined) expect(parser.push(stream)).toBe(wrong);
    }
  });

  test('garbage never throws and lengths are bounded before memory is taken', () => {
    fc.assert(
      fc.property(fc.array(bytes(200), { maxLength: 10 }), (chunks) => {
        const { parser } = collect(HANDSHAKE_FRAME_BYTES_MAX);
        for (const chunk of chunks) parser.push(chunk);
      }),
    );
    const huge = new Uint8Array(4);
    writeU32(huge, 0, HANDSHAKE_FRAME_BYTES_MAX + 1);
    expect(collect(HANDSHAKE_FRAME_BYTES_MAX).parser.push(huge)).toMatch(/length/);
    expect(() => encodeFrame({}, [new Uint8Array(FRAME_BYTES_MAX)])).toThrow(/limit/);
  });

  test('well-formed checksums around nonsense headers end in an error', () => {
    fc.assert(
      fc.property(bytes(60), count, (header, headerBytes) => {
        const frame = new Uint8Array(8 + header.length + 4);
        writeU32(frame, 0, frame.length - 4);
        writeU32(frame, 4, headerBytes);
        frame.set(header, 8);
        writeU32(frame, frame.length - 4, crc32c(frame.subarray(0, frame.length - 4)));
        collect().parser.push(frame);
      }),
    );
    expect(splitData({ channel: [1], length: [2, 3] }, new Uint8Array(5), () => {})).toBe(false);
    expect(splitData({ channel: [1, 2], length: [2, 4] }, new Uint8Array(5), () => {})).toBe(false);
  });
});

function entry(index: number, term: number, kind: 0 | 1 | 2, body: Uint8Array): LogEntry {
  const made: LogEntry = { index, term, kind, body, crc: body.length === 0 ? 0 : crc32c(body) };
  if (kind === 2) made.membership = { voters: [1, 2 ** 47], learners: [3] };
  return made;
}

const memberships = encodeMembership({ voters: [1, 2 ** 47], learners: [3] });

function messages(): { group: number; message: RaftMessage }[] {
  const base = { from: 1, to: 2, term: 2 ** 40 };
  const entries = [
    entry(2 ** 33, 3, 0, new Uint8Array(0)),
    entry(2 ** 33 + 1, 4, 1, new Uint8Array(4_000).fill(9)),
    entry(2 ** 33 + 2, 4, 2, memberships),
  ];
  return [
    { group: 0, message: { ...base, type: 'pre-vote', lastIndex: 2 ** 33, lastTerm: 5 } },
    { group: 64, message: { ...base, type: 'pre-vote-reply', granted: true } },
    { group: 64, message: { ...base, type: 'vote', lastIndex: 1, lastTerm: 5, transfer: true } },
    { group: 64, message: { ...base, type: 'vote-reply', granted: false } },
    {
      group: 2 ** 40,
      message: {
        ...base,
        type: 'append',
        prevIndex: 2 ** 33 - 1,
        prevTerm: 3,
        first: 2 ** 33,
        last: 2 ** 33 + 2,
        entries,
        commit: 6,
        round: 8,
      },
    },
    {
      group: 64,
      message: {
        ...base,
        type: 'append',
        prevIndex: 0,
        prevTerm: 0,
        first: 1,
        last: 0,
        entries: [],
        commit: 0,
        round: 0,
      },
    },
    { group: 64, message: { ...base, type: 'append-reply', ok: true, index: 5, hintTerm: 0, round: 3 } },
    { group: 65, message: { ...base, type: 'heartbeat', commit: 4, round: 1, quiesce: true, lastIndex: 9 } },
    { group: 65, message: { ...base, type: 'heartbeat-reply', round: 1 } },
    { group: 65, message: { ...base, type: 'commit', index: 2 ** 33 } },
    { group: 65, message: { ...base, type: 'timeout-now' } },
    { group: 65, message: { ...base, type: 'read-index', context: 2 ** 31 } },
    { group: 65, message: { ...base, type: 'read-index-reply', context: 2 ** 31, ok: true, index: 77 } },
  ];
}

function encoded(): Uint8Array[] {
  const writer = new RaftBatchWriter();
  for (const { group, message } of messages()) writer.add(group, message);
  return writer.take();
}

describe('raft messages', () => {
  test('come back as they were; bodies are not copied on the way out', () => {
    const parts = encoded();
    expect(parts.some((part) => part.length === 4_000)).toBe(true);
    const got: unknown[] = [];
    expect(
      decodeRaftBatch(
        join(parts),
        1,
        2,
        () => false,
        (group, message) => got.push({ group, message }),
      ),
    ).toBeUndefined();
    expect(JSON.stringify(got, plain)).toEqual(JSON.stringify(messages(), plain));
    expect(got).toHaveLength(13);
  });

  test('any damaged body is refused, whatever the frame says', () => {
    const payload = join(encoded());
    const body = payload.length - 2_000;
    payload[body] ^= 4;
    let seen = 0;
    expect(
      decodeRaftBatch(
        payload,
        1,
        2,
        () => false,
        () => seen++,
      ),
    ).toMatch(/checksum/);
    expect(seen).toBe(4);
  });

  test('no truncation or flip throws', () => {
    const payload = join(encoded());
    for (let n = 0; n < payload.length - 3_900; n += 3)
      decodeRaftBatch(
        payload.slice(0, n),
        1,
        2,
        () => false,
        () => {},
      );
    fc.assert(
      fc.property(fc.nat(payload.length - 1), fc.nat(255), (at, value) => {
        const bad = payload.slice();
        bad[at] = value;
        decodeRaftBatch(
          bad,
          1,
          2,
          () => false,
          (_, message) => {
            for (const number of Object.values(message))
              if (typeof number === 'number') expect(Number.isSafeInteger(number)).toBe(true);
          },
        );
      }),
      { numRuns: 500 },
    );
  });
});

function plain(_key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (value !== null && typeof value === 'object' && !Array.isArray(value))
    return Object.fromEntries(Object.entries(value).sort());
  return value;
}

test('the generated code is that of frames.proto', () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'flotilla-pb-'));
  const script = (JSON.parse(fs.readFileSync('package.json', 'utf8')) as { scripts: { generate: string } }).scripts
    .generate;
  const [command, ...args] = script.split(' ');
  const out = path.join(dir, 'frames.generated.js');
  args[args.indexOf('-o') + 1] = out;
  execFileSync(path.join('node_modules/.bin', command), args);
  expect(fs.readFileSync('cluster/rpc/frames.generated.js', 'utf8')).toBe(fs.readFileSync(out, 'utf8'));
  expect(fs.readFileSync('cluster/rpc/frames.generated.d.ts', 'utf8')).toBe(
    fs.readFileSync(out.replace('.js', '.d.ts'), 'utf8'),
  );
  fs.rmSync(dir, { recursive: true });
});
