import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Parser, type ParserHandler } from '../../../src/protocols/nats/parser.ts';
import { Interner } from '../../../src/subjects/interner.ts';

const LIMITS = { controlLineMax: 4096, payloadMax: 100_000 };

interface Setup {
  headers?: boolean;
  connectOnly?: boolean;
  limits?: typeof LIMITS;
}

/** Feeds the chunks and tells what came out, one line per event. */
function events(chunks: readonly Uint8Array[], setup: Setup = {}): string[] {
  const out: string[] = [];
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');
  const handler: ParserHandler = {
    onConnect: (json) => {
      out.push(`CONNECT ${json}`);
      parser.connectOnly = false;
    },
    onPub: (m) => out.push(`PUB ${m.subject} [${m.reply}] {${text(m.hdr)}} ${text(m.payload)}`),
    onSub: (subject, queue, sid) => out.push(`SUB ${subject} [${queue}] ${sid}`),
    onUnsub: (sid, max) => out.push(`UNSUB ${sid} ${max}`),
    onPing: () => out.push('PING'),
    onPong: () => out.push('PONG'),
    onError: (error) => out.push(`error ${error}`),
  };
  const parser = new Parser(handler, new Interner(), setup.limits ?? LIMITS);
  parser.headers = setup.headers ?? true;
  parser.connectOnly = setup.connectOnly ?? false;
  for (const chunk of chunks) parser.feed(chunk);
  return out;
}

const bytes = (s: string) => Buffer.from(s, 'utf8');
const one = (s: string, setup?: Setup) => events([bytes(s)], setup);

describe('verbs', () => {
  test.each<[string, string[]]>([
    ['PING\r\n', ['PING']],
    ['PONG\r\n', ['PONG']],
    ['ping\r\npOnG\n', ['PING', 'PONG']],
    ['CONNECT {"verbose":false}\r\n', ['CONNECT {"verbose":false}']],
    ['connect\t{}\r\n', ['CONNECT {}']],
    ['PUB a 2\r\nhi\r\n', ['PUB a [] {} hi']],
    ['pub a.b _INBOX.x 0\r\n\r\n', ['PUB a.b [_INBOX.x] {} ']],
    ['PUB \t a\t r   3 \r\nabc\r\nPING\r\n', ['PUB a [r] {} abc', 'PING']],
    ['PUB größe 1\r\nx\r\n', ['PUB größe [] {} x']],
    ['PUB a 4\r\n\r\n\r\n\r\n', ['PUB a [] {} \r\n\r\n']],
    ['HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n', ['PUB a [] {NATS/1.0\r\n\r\n} hi']],
    ['hpub a r 12 12\r\nNATS/1.0\r\n\r\n\r\n', ['PUB a [r] {NATS/1.0\r\n\r\n} ']],
    ['SUB a.> 1\r\n', ['SUB a.> [] 1']],
    ['SUB a q 17\r\nsub b 2\r\n', ['SUB a [q] 17', 'SUB b [] 2']],
    ['UNSUB 1\r\nUNSUB 2 5\r\n', ['UNSUB 1 0', 'UNSUB 2 5']],
    ['INFO {}\r\n+OK\r\nPING\r\n', ['PING']],
    ["-ERR 'x'\r\nPING\r\n", ['error arguments']],
    ['-ERR\r\nPING\r\n', ['error unknown-operation']],
  ])('%j', (input, expected) => {
    expect(one(input)).toEqual(expected);
  });
});

describe('errors stop everything', () => {
  const long = 'x'.repeat(5000);
  const refused: [string, string, Setup?][] = [
    ['GET / HTTP/1.1\r\n', 'unknown-operation'],
    ['G', 'unknown-operation'],
    ['\r\n', 'unknown-operation'],
    ['PUB\r\n', 'unknown-operation'],
    ['PIX\r\n', 'unknown-operation'],
    ['PUBa 1\r\n', 'unknown-operation'],
    ['PUB a 2\r\nhixx', 'unknown-operation'],
    ['PUB a 2\r\nhi\rx', 'unknown-operation'],
    ['PUB a\r\n', 'arguments'],
    ['PUB \r\n', 'arguments'],
    ['PUB a b c 1\r\n', 'arguments'],
    ['PUB a x\r\n', 'arguments'],
    ['PUB a -1\r\n', 'arguments'],
    ['PUB a 1234567890\r\n', 'arguments'],
    ['PUB a 100001\r\n', 'payload'],
    ['HPUB a 12 100001\r\n', 'payload'],
    ['HPUB a 14 12\r\n', 'headers'],
    ['HPUB a x 12\r\n', 'headers'],
    ['HPUB a 12\r\n', 'headers'],
    ['HPUB a 12 12\r\n', 'headers', { headers: false }],
    ['SUB a\r\n', 'arguments'],
    ['SUB a q 1 2\r\n', 'arguments'],
    ['UNSUB 1 2 3\r\n', 'arguments'],
    [`SUB ${long} 1\r\n`, 'control-line'],
    [`SUB ${long}`, 'control-line'],
    [`PUB ${long} 1\r\nx\r\n`, 'control-line'],
    [`CONNECT ${long}\r\n`, 'control-line'],
    [`PING${long}`, 'control-line'],
    ['PING\r\n', 'not-connect', { connectOnly: true }],
    ['PUB a 1\r\nx\r\n', 'not-connect', { connectOnly: true }],
  ];
  const named = refused.map(
    ([input, error, setup]) => [JSON.stringify(input).slice(0, 30), input, error, setup] as const,
  );
  test.each(named)('%s', (_name, input, error, setup) => {
    const expected = [`error ${error}`];
    expect(one(input, setup)).toEqual(expected);
    expect(one(`${input}PING\r\nPING\r\n`, setup)).toEqual(expected);
    const bytewise = [...bytes(`${input}PING\r\n`)].map((byte) => Uint8Array.of(byte));
    expect(events(bytewise, setup)).toEqual(expected);
  });

  test('garbage is refused at its first byte', () => {
    expect(one('X')).toEqual(['error unknown-operation']);
    expect(one('PX')).toEqual(['error unknown-operation']);
    expect(one('P')).toEqual([]);
  });

  test('after CONNECT other verbs are legal', () => {
    expect(one('CONNECT {}\r\nPING\r\n', { connectOnly: true })).toEqual(['CONNECT {}', 'PING']);
  });

  test('a control line of exactly the limit passes, split or not', () => {
    const subject = 's'.repeat(4096 - 2);
    const line = `SUB ${subject} 1\r\n`;
    expect(one(line)).toEqual([`SUB ${subject} [] 1`]);
    expect(events([bytes(line.slice(0, 4000)), bytes(line.slice(4000))])).toEqual([`SUB ${subject} [] 1`]);
    expect(events([bytes(line.slice(0, -1)), bytes('\n')])).toEqual([`SUB ${subject} [] 1`]);
  });
});

describe('splits', () => {
  const name = fc.constantFrom('a', 'foo.bar', '_INBOX.x.y', 'größe.日本', 'x'.repeat(300));
  const body = fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.constant(new Uint8Array(3000).fill(10)));
  const header = fc.constantFrom('NATS/1.0\r\n\r\n', 'NATS/1.0 503\r\nA: b\r\n\r\n');
  const eol = fc.constantFrom('\r\n', '\n');
  const operation = fc.oneof(
    fc
      .tuple(name, fc.option(name), body, eol)
      .map(([s, r, b, e]) =>
        Buffer.concat([bytes(`PUB ${s} ${r === null ? '' : `${r} `}${b.length}${e}`), b, bytes('\r\n')]),
      ),
    fc
      .tuple(name, fc.option(name), header, body)
      .map(([s, r, h, b]) =>
        Buffer.concat([bytes(`hPuB ${s} ${r ?? ''} ${h.length} ${h.length + b.length}\r\n${h}`), b, bytes('\r\n')]),
      ),
    fc.tuple(name, fc.option(fc.constant('q')), eol).map(([s, q, e]) => bytes(`SUB ${s} ${q ?? ''} 7${e}`)),
    fc
      .constantFrom('PING\r\n', 'PONG\r\n', 'UNSUB 7\r\n', 'UNSUB 7 3\r\n', 'CONNECT {"a":1}\r\n', '+OK\r\n')
      .map(bytes),
    {
      weight: 1,
      arbitrary: fc
        .constantFrom('PUB a\r\n', 'JUNK', 'PUB a 1\r\nxyz', 'HPUB a 9 1\r\n', 'PUB a 999999\r\n')
        .map(bytes),
    },
  );

  test('any split gives the events of the whole', () => {
    fc.assert(
      fc.property(
        fc.array(operation, { minLength: 1, maxLength: 8 }),
        fc.array(fc.nat(10_000), { maxLength: 12 }),
        (operations, cuts) => {
          const all = Buffer.concat(operations);
          const at = [...new Set([0, ...cuts.map((cut) => cut % (all.length + 1)), all.length])].sort((a, b) => a - b);
          const chunks = at.slice(1).map((end, i) => Uint8Array.prototype.slice.call(all, at[i], end));
          expect(events(chunks)).toEqual(events([all]));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('every single cut, and byte by byte', () => {
    const all = bytes(
      'CONNECT {"verbose":false}\r\nPING\r\nSUB foo.* q 1\r\nPUB foo.bar reply 5\r\nhello\r\nHPUB h r 12 15\r\nNATS/1.0\r\n\r\nabc\r\nUNSUB 1 2\r\nPONG\r\n',
    );
    const whole = events([all]);
    expect(whole.length).toBe(7);
    for (let cut = 0; cut <= all.length; cut++)
      expect(events([all.subarray(0, cut), all.subarray(cut)])).toEqual(whole);
    expect(events([...all].map((byte) => Uint8Array.of(byte)))).toEqual(whole);
  });

  test('arbitrary bytes never throw, and splits still agree', () => {
    const junk = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc
        .string({ unit: fc.constantFrom('P', 'U', 'B', 'S', 'H', 'I', 'N', 'G', ' ', '1', '\r', '\n', 'a') })
        .map(bytes),
    );
    fc.assert(
      fc.property(junk, fc.nat(100), (all, cut) => {
        expect(events([all.subarray(0, cut % (all.length + 1)), all.subarray(cut % (all.length + 1))])).toEqual(
          events([all]),
        );
      }),
      { numRuns: 500 },
    );
  });
});

test('a payload inside one chunk is not copied', () => {
  const chunk = bytes('PUB a 5\r\nhello\r\n');
  let payload: Uint8Array | undefined;
  const ignore = () => {};
  const parser = new Parser(
    {
      onPub: (m) => (payload = m.payload),
      onConnect: ignore,
      onSub: ignore,
      onUnsub: ignore,
      onPing: ignore,
      onPong: ignore,
      onError: ignore,
    },
    new Interner(),
    LIMITS,
  );
  parser.feed(chunk);
  expect(payload?.buffer).toBe(chunk.buffer);
});

test('the same subject is the same string, and a slot that is taken over gives the right one', () => {
  const names = new Interner();
  const seen = new Set<string>();
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 20_000; i++) {
      const buf = bytes(`s.${i}`);
      const name = names.intern(buf, 0, buf.length);
      expect(name).toBe(`s.${i}`);
      seen.add(name);
    }
  }
  expect(seen.size).toBe(20_000);
});
