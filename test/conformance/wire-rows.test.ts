// The client protocol row by row (nats-surface §0 and §1): what a connection sends, and what comes back until its PONG or its end. What is
// expected stands in wire-rows.txt, as nats-server answers; `UPDATE=1 npm run conformance -- --against nats-server wire-rows` writes it anew.

import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { differs } from './differences.ts';
import { against } from './harness.ts';
import { Target, targetKind } from './target.ts';

const GOLDEN = join(import.meta.dirname, 'wire-rows.txt');
const UPDATE = process.env['UPDATE'] === '1' && against === 'nats-server';
const QUIET_MS = 80;
/** Long enough where silence is the answer; where it is not, only a hang lasts so long. */
const SILENT_MS = 3_000;
const HANG_MS = 30_000;

const C = 'CONNECT {"verbose":false,"pedantic":false,"protocol":0}\r\n';
const CH = 'CONNECT {"verbose":false,"pedantic":false,"protocol":0,"headers":true,"no_responders":true}\r\n';
const V = 'CONNECT {"verbose":true,"pedantic":false,"protocol":0}\r\n';
const P = 'CONNECT {"verbose":false,"pedantic":true,"protocol":0}\r\n';
const big = (n: number): string => 'x'.repeat(n);

const CASES: [name: string, input: string][] = [
  ['connect lowercase', C.replace('CONNECT', 'connect') + 'ping\r\n'],
  ['connect twice', C + 'SUB a 1\r\n' + C + 'PUB a 1\r\nx\r\nPING\r\n'],
  ['connect twice, less said', CH + C + 'SUB r 1\r\nPUB nobody r 1\r\nx\r\nPING\r\n'],
  ['connect twice, more said', C + CH + 'SUB r 1\r\nPUB nobody r 1\r\nx\r\nPING\r\n'],
  ['connect twice, nothing said', C + 'CONNECT {}\r\nPUB a 0\r\n\r\nPING\r\n'],
  ['connect twice, taken back', CH + 'CONNECT {"headers":false}\r\nPING\r\n'],
  ['connect null', 'CONNECT null\r\nPING\r\nPUB a 0\r\n\r\n'],
  ['connect null later', C + 'CONNECT null\r\nPUB a 0\r\n\r\nPING\r\n'],
  ['connect number', 'CONNECT 5\r\nPING\r\n'],
  ['connect bad json', 'CONNECT {\r\nPING\r\n'],
  ['connect not object', 'CONNECT []\r\nPING\r\n'],
  ['connect no args', 'CONNECT\r\nPING\r\n'],
  ['connect wrong type', 'CONNECT {"verbose":"yes"}\r\nPING\r\n'],
  ['connect unknown field', 'CONNECT {"verbose":false,"pedantic":false,"zzz":1}\r\nPING\r\n'],
  ['connect dup spaces', 'CONNECT    {"verbose":false,"pedantic":false}  \r\nPING\r\n'],
  ['connect protocol 2', 'CONNECT {"verbose":false,"protocol":2}\r\nPING\r\n'],
  ['connect protocol -1', 'CONNECT {"verbose":false,"protocol":-1}\r\nPING\r\n'],
  ['connect account', 'CONNECT {"verbose":false,"account":"A"}\r\nPING\r\n'],
  ['connect new_account', 'CONNECT {"verbose":false,"new_account":true}\r\nPING\r\n'],
  ['connect nr without hdr', 'CONNECT {"verbose":false,"no_responders":true}\r\nPING\r\n'],
  ['connect empty', 'CONNECT {}\r\nPING\r\n'],
  ['no connect ping', 'PING\r\n'],
  ['no connect pub', 'PUB a 1\r\nx\r\nPING\r\n'],
  ['no connect sub', 'SUB a 1\r\nPING\r\n'],
  ['ping args', C + 'PING extra\r\nPING\r\n'],
  ['pong', C + 'PONG\r\nPING\r\n'],
  ['pong unsolicited many', C + 'PONG\r\nPONG\r\nPONG\r\nPING\r\n'],
  ['ping lf only', C + 'PING\nPING\r\n'],
  ['sub lf only', C + 'SUB a 1\nPUB a 1\r\nx\r\nPING\r\n'],
  ['empty lines', C + '\r\n\r\nPING\r\n'],
  ['space before', C + ' PING\r\n'],
  ['unknown verb', C + 'FOO\r\nPING\r\n'],
  ['MSG from client', C + 'MSG a 1 1\r\nx\r\nPING\r\n'],
  ['INFO from client', C + 'INFO {}\r\nPING\r\n'],
  ['+OK from client', C + '+OK\r\nPING\r\n'],
  ['-ERR from client', C + "-ERR 'x'\r\nPING\r\n"],
  ['-err no text', C + '-ERR\r\nPING\r\n'],
  ['pub 0', C + 'SUB a 1\r\nPUB a 0\r\n\r\nPING\r\n'],
  ['pub reply', C + 'SUB a 1\r\nPUB a r.x 2\r\nhi\r\nPING\r\n'],
  ['pub tabs', C + 'SUB\ta\t1\r\nPUB\ta \t 2\r\nhi\r\nPING\r\n'],
  ['pub no size', C + 'PUB a\r\nPING\r\n'],
  ['pub no args', C + 'PUB\r\nPING\r\n'],
  ['pub 4 args', C + 'PUB a b c 1\r\nx\r\nPING\r\n'],
  ['pub neg', C + 'PUB a -1\r\nPING\r\n'],
  ['pub nan', C + 'PUB a x\r\nPING\r\n'],
  ['pub huge num', C + 'PUB a 99999999999999999999\r\nPING\r\n'],
  ['pub 0x', C + 'PUB a 0x1\r\nx\r\nPING\r\n'],
  ['pub 01', C + 'SUB a 1\r\nPUB a 01\r\nx\r\nPING\r\n'],
  ['pub +1', C + 'PUB a +1\r\nx\r\nPING\r\n'],
  ['pub short crlf', C + 'SUB a 1\r\nPUB a 2\r\nxyzPING\r\n'],
  ['pub long', C + 'SUB a 1\r\nPUB a 1\r\nxyz\r\nPING\r\n'],
  ['pub payload lf', C + 'SUB a 1\r\nPUB a 1\r\nx\nPING\r\n'],
  ['pub over max', C + 'PUB a 1048577\r\n'],
  ['pub max', C + `PUB a 1048576\r\n${big(1048576)}\r\nPING\r\n`],
  ['pub wildcard', C + 'SUB a.* 1\r\nPUB a.* 1\r\nx\r\nPING\r\n'],
  ['pub > ', C + 'SUB > 1\r\nPUB a.> 1\r\nx\r\nPING\r\n'],
  ['pub empty token', C + 'SUB > 1\r\nPUB a..b 1\r\nx\r\nPING\r\n'],
  ['pub lead dot', C + 'SUB > 1\r\nPUB .a 1\r\nx\r\nPING\r\n'],
  ['pub trail dot', C + 'SUB > 1\r\nPUB a. 1\r\nx\r\nPING\r\n'],
  ['pedantic wildcard', P + 'SUB a.b 1\r\nPUB a.* 1\r\nx\r\nPING\r\n'],
  ['pedantic empty token', P + 'PUB a..b 1\r\nx\r\nPING\r\n'],
  ['pedantic reply wildcard', P + 'SUB a 1\r\nPUB a b.* 1\r\nx\r\nPING\r\n'],
  ['pedantic foo*', P + 'SUB foo* 1\r\nPUB foo* 1\r\nx\r\nPING\r\n'],
  ['sub bad', C + 'SUB a..b 1\r\nPING\r\n'],
  ['sub > middle', C + 'SUB a.>.b 1\r\nPING\r\n'],
  ['sub foo*', C + 'SUB foo* 1\r\nPUB foo* 1\r\nx\r\nPUB foox 1\r\nx\r\nPING\r\n'],
  ['sub foo>', C + 'SUB a.b> 1\r\nPUB a.b> 1\r\nx\r\nPING\r\n'],
  ['sub **', C + 'SUB a.** 1\r\nPUB a.** 1\r\nx\r\nPING\r\n'],
  ['sub no sid', C + 'SUB a\r\nPING\r\n'],
  ['sub no args', C + 'SUB\r\nPING\r\n'],
  ['sub 4 args', C + 'SUB a b c d\r\nPING\r\n'],
  ['sub dup sid', C + 'SUB a 1\r\nSUB b 1\r\nPUB a 1\r\nx\r\nPUB b 1\r\ny\r\nPING\r\n'],
  ['sub sid text', C + 'SUB a sid-ü\r\nPUB a 1\r\nx\r\nPING\r\n'],
  ['sub _sys_ queue', C + 'SUB a _sys_ 1\r\nPING\r\n'],
  ['sub queue wildcard', C + 'SUB a q.* 1\r\nPUB a 1\r\nx\r\nPING\r\n'],
  ['sub utf8', C + 'SUB grüße.日本 1\r\nPUB grüße.日本 1\r\nx\r\nPING\r\n'],
  ['sub lead dot', C + 'SUB .a 1\r\nPING\r\n'],
  ['sub long', C + `SUB ${big(3000)} 1\r\nPUB ${big(3000)} 1\r\nx\r\nPING\r\n`],
  ['unsub unknown', C + 'UNSUB 9\r\nPING\r\n'],
  ['unsub no args', C + 'UNSUB\r\nPING\r\n'],
  ['unsub 3 args', C + 'UNSUB 1 2 3\r\nPING\r\n'],
  ['unsub nan', C + 'SUB a 1\r\nUNSUB 1 x\r\nPUB a 1\r\nx\r\nPING\r\n'],
  ['unsub 0', C + 'SUB a 1\r\nUNSUB 1 0\r\nPUB a 1\r\nx\r\nPING\r\n'],
  ['unsub -1', C + 'SUB a 1\r\nUNSUB 1 -1\r\nPUB a 1\r\nx\r\nPING\r\n'],
  ['unsub max', C + 'SUB a 1\r\nUNSUB 1 2\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\nPING\r\n'],
  ['unsub reached', C + 'SUB a 1\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nUNSUB 1 1\r\nPUB a 1\r\n3\r\nPING\r\n'],
  ['verbose all', V + 'SUB a 1\r\nPUB a 1\r\nx\r\nUNSUB 1\r\nPING\r\nUNSUB 7\r\nSUB a..b 3\r\nPUB a 0\r\n\r\n'],
  [
    'verbose hpub',
    'CONNECT {"verbose":true,"pedantic":false,"headers":true}\r\nSUB a 1\r\nHPUB a 12 13\r\nNATS/1.0\r\n\r\nx\r\nPING\r\n',
  ],
  ['hpub', CH + 'SUB a 1\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\n'],
  ['hpub key', CH + 'SUB a 1\r\nHPUB a 20 22\r\nNATS/1.0\r\nA: bcd\r\n\r\nhi\r\nPING\r\n'.replace('20 22', '20 22')],
  ['hpub reply', CH + 'SUB a 1\r\nHPUB a re 12 12\r\nNATS/1.0\r\n\r\n\r\nPING\r\n'],
  ['hpub not negotiated', C + 'HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\n'],
  ['hpub hdr>total', CH + 'HPUB a 14 12\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\n'],
  ['hpub nan', CH + 'HPUB a x 12\r\nPING\r\n'],
  ['hpub no args', CH + 'HPUB\r\nPING\r\n'],
  ['hpub 2 args', CH + 'HPUB a 12\r\nPING\r\n'],
  ['hpub 5 args', CH + 'HPUB a b c 12 12\r\nPING\r\n'],
  ['hpub hdr 0', CH + 'SUB a 1\r\nHPUB a 0 2\r\nhi\r\nPING\r\n'],
  ['hpub garbage hdr', CH + 'SUB a 1\r\nHPUB a 4 6\r\nabcdhi\r\nPING\r\n'],
  ['hpub over max', CH + 'HPUB a 12 1048577\r\n'],
  ['hpub neg', CH + 'HPUB a -1 3\r\nPING\r\n'],
  ['no responders', CH + 'SUB r 1\r\nPUB nobody r 1\r\nx\r\nPING\r\n'],
  ['no responders wc inbox', CH + 'SUB r.* 1\r\nPUB nobody r.1 1\r\nx\r\nPING\r\n'],
  ['no responders no sub', CH + 'PUB nobody r 1\r\nx\r\nPING\r\n'],
  ['no responders not negotiated', C + 'SUB r 1\r\nPUB nobody r 1\r\nx\r\nPING\r\n'],
  ['no responders queue inbox', CH + 'SUB r q 1\r\nPUB nobody r 1\r\nx\r\nPING\r\n'],
  ['responder is self', CH + 'SUB r 1\r\nSUB s 2\r\nPUB s r 1\r\nx\r\nPING\r\n'],
  ['reply JS.ACK', C + 'SUB a 1\r\nPUB a $JS.ACK.x.y.1.2.3.4.5 1\r\nx\r\nPING\r\n'],
  ['reply _R_', C + 'SUB a 1\r\nPUB a _R_.x 1\r\nx\r\nPING\r\n'],
  ['reply _GR_', C + 'SUB a 1\r\nPUB a _GR_.x 1\r\nx\r\nPING\r\n'],
  ['reply wildcard', C + 'SUB a 1\r\nPUB a b.* 1\r\nx\r\nPING\r\n'],
  ['reply bad', C + 'SUB a 1\r\nPUB a b..c 1\r\nx\r\nPING\r\n'],
  ['echo off', 'CONNECT {"verbose":false,"pedantic":false,"echo":false}\r\nSUB a 1\r\nPUB a 1\r\nx\r\nPING\r\n'],
  ['two subs', C + 'SUB a.* 1\r\nSUB a.> 2\r\nPUB a.b 1\r\nx\r\nPING\r\n'],
  ['control line 4096+', C + `PUB ${big(5000)} 1\r\nx\r\nPING\r\n`],
  ['control line sub', C + `SUB ${big(5000)} 1\r\nPING\r\n`],
  ['control line connect', `CONNECT {"verbose":false,"name":"${big(5000)}"}\r\nPING\r\n`],
  ['control line no crlf', C + `SUB ${big(6000)}`],
  ['control line garbage', C + big(6000)],
  ['sys event sub', C + 'SUB $SYS.> 1\r\nPING\r\n'],
  ['sub JS.API', C + 'SUB $JS.API.> 1\r\nPUB $JS.API.INFO 0\r\n\r\nPING\r\n'],
  ['sub JS.ACK', C + 'SUB $JS.ACK.> 1\r\nPUB $JS.ACK.x 0\r\n\r\nPING\r\n'],
  ['nul bytes', C + 'PUB a\0b 1\r\nx\r\nPING\r\n'],
  ['sub nul', C + 'SUB a\0b 1\r\nPUB a\0b 1\r\nx\r\nPING\r\n'],
  ['cr in middle', C + 'PI\rNG\r\n'],
  ['http', 'GET / HTTP/1.1\r\n\r\n'],
  ['tls hello', '\x16\x03\x01\x02\x00\x01'],
  ['connect null fields', 'CONNECT {"verbose":null,"pedantic":null,"user":null}\r\nPING\r\nPUB a 0\r\n\r\n'],
  ['connect name number', 'CONNECT {"verbose":false,"name":5}\r\nPING\r\n'],
  ['connect lang', 'CONNECT {"verbose":false,"pedantic":false,"lang":"x","version":"1"}\r\nPING\r\n'],
];

/** One node, so that nothing of other tests is heard. */
const target = new Target(targetKind());

beforeAll(async () => {
  await target.start(1);
});

afterAll(async () => {
  await target.stop();
});

/** Everything up to the end of the connection, or until nothing came for a while after a PONG and after as much as `wanted`. */
function converse(input: string, wanted: string | undefined): Promise<string> {
  return new Promise((done) => {
    const socket = connect(target.port(0), '127.0.0.1');
    let text = '';
    const finish = (end: string): void => {
      clearTimeout(timer);
      socket.removeAllListeners('close');
      socket.destroy();
      done(text + end);
    };
    const patienceMs = wanted === undefined || wanted.endsWith('<silent>') ? SILENT_MS : HANG_MS;
    let timer = setTimeout(finish, patienceMs, '<silent>');
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      text += chunk;
      if (!text.includes('PONG\r\n')) return;
      clearTimeout(timer);
      const isAll = wanted === undefined || told(text).length >= wanted.length;
      timer = setTimeout(finish, isAll ? QUIET_MS : patienceMs, '');
    });
    socket.on('error', () => {});
    socket.on('close', () => finish('<closed>'));
    socket.write(input);
  });
}

/** One line; without INFO, whose content is looked at elsewhere. */
function told(text: string): string {
  return text
    .replace(/^INFO .*?\r\n/, '')
    .replaceAll('\r\n', '|')
    .replaceAll('\0', '\\0')
    .replaceAll(big(1000), 'X');
}

const expected = new Map(
  UPDATE
    ? []
    : readFileSync(GOLDEN, 'utf8')
        .split('\n')
        .map((line): [string, string] => {
          const at = line.indexOf(': ');
          return [line.slice(0, at), line.slice(at + 2)];
        }),
);
const seen: string[] = [];

/** Where Flotilla says something else on purpose. */
const OTHERWISE: Record<string, string> = {
  // An error instead of silence: the line has no arguments at all.
  'connect no args': "-ERR 'Unknown Protocol Operation'|<closed>",
  // Sizes are written as numbers, not repeated as they came.
  'pub 01': 'MSG a 1 1|x|PONG|',
};

test.each(CASES)('%s', async (name, input) => {
  const otherwise = differs('wire-details') ? undefined : OTHERWISE[name];
  const wanted = otherwise ?? expected.get(name);
  const answer = told(await converse(input, wanted));
  seen.push(`${name}: ${answer}`);
  if (!UPDATE) expect(answer).toBe(wanted);
});

afterAll(() => {
  if (UPDATE) writeFileSync(GOLDEN, `${seen.join('\n')}\n`);
});
