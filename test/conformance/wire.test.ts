// The client protocol byte for byte, through raw sockets: error texts, which errors close, verbose, pedantic, split input.

import { describe, expect, inject, test } from 'vitest';
import { pause, unique } from './harness.ts';
import { RawClient } from './raw.ts';

const port = () => Number(new URL(inject('urls')[0]).port);
const session = (options: Record<string, unknown> = {}) => RawClient.session(port(), options);

describe('INFO and CONNECT', () => {
  test('INFO comes first, with the fields that clients need', async () => {
    const [client, info] = await session();
    expect(info).toMatchObject({
      server_name: 'node1',
      proto: 1,
      headers: true,
      jetstream: true,
      max_payload: 1_048_576,
      port: port(),
    });
    expect(info['version']).toMatch(/^2\.\d+\.\d+$/);
    expect(typeof info['server_id']).toBe('string');
    expect(typeof info['client_id']).toBe('number');
    expect(info['auth_required'] ?? false).toBe(false);
    client.close();
  });

  test('CONNECT {} is verbose and pedantic', async () => {
    const client = await RawClient.connect(port());
    await client.until(/INFO .*\r\n/);
    client.send('CONNECT {}\r\nPUB a.* 1\r\nx\r\nPING\r\n');
    expect(await client.until(/[\s\S]*PONG\r\n/)).toBe("+OK\r\n-ERR 'Invalid Publish Subject'\r\n+OK\r\nPONG\r\n");
    client.close();
  });

  test('verbose: +OK for SUB, PUB, UNSUB, not for PING', async () => {
    const [client] = await session({ verbose: true });
    client.send('SUB verbose.x 1\r\nPUB verbose.y 1\r\nz\r\nUNSUB 1\r\nPING\r\n');
    expect(await client.until(/[\s\S]*PONG\r\n/)).toBe('+OK\r\n+OK\r\n+OK\r\nPONG\r\n');
    client.close();
  });

  test('an unknown protocol version closes', async () => {
    const client = await RawClient.connect(port());
    await client.until(/INFO .*\r\n/);
    client.send('CONNECT {"verbose":false,"protocol":7}\r\n');
    expect(await client.untilClosed()).toContain("-ERR 'invalid client protocol'\r\n");
  });

  test('no_responders needs headers', async () => {
    const client = await RawClient.connect(port());
    await client.until(/INFO .*\r\n/);
    client.send('CONNECT {"verbose":false,"no_responders":true}\r\n');
    expect(await client.untilClosed()).toContain("-ERR 'no responders requires headers support'\r\n");
  });
});

describe('verbs', () => {
  test('in any case, separated by tabs and spaces', async () => {
    const [client] = await session();
    const subject = unique('w');
    client.send(`sub  ${subject}\t7\r\npub ${subject}   2\r\nhi\r\n`);
    expect(await client.until(/MSG .*\r\n.*\r\n/)).toBe(`MSG ${subject} 7 2\r\nhi\r\n`);
    client.close();
  });

  test('split at every byte', async () => {
    const [client] = await session({ headers: true });
    const subject = unique('w');
    const hdr = 'NATS/1.0\r\nK: v\r\n\r\n';
    const text =
      `SUB ${subject} 1\r\nPUB ${subject} re.ply 5\r\nhello\r\n` +
      `HPUB ${subject} ${hdr.length} ${hdr.length + 2}\r\n${hdr}ok\r\nPING\r\n`;
    for (const byte of text) {
      client.send(byte);
      await new Promise((go) => setImmediate(go));
    }
    expect(await client.until(/[\s\S]*PONG\r\n/)).toBe(
      `MSG ${subject} 1 re.ply 5\r\nhello\r\n` +
        `HMSG ${subject} 1 ${hdr.length} ${hdr.length + 2}\r\n${hdr}ok\r\nPONG\r\n`,
    );
    client.close();
  });

  test('two overlapping subscriptions get a copy each, a queue group one', async () => {
    const [client] = await session();
    const subject = unique('w');
    client.send(
      `SUB ${subject} 1\r\nSUB ${subject}.* 9\r\nSUB ${subject} 2\r\nSUB ${subject} q 3\r\nSUB ${subject} q 4\r\n`,
    );
    client.send(`PUB ${subject} 1\r\nx\r\n`);
    const text = await client.fence();
    expect(text.match(/MSG/g)).toHaveLength(3);
    expect(text).toContain(`MSG ${subject} 1 1`);
    expect(text).toContain(`MSG ${subject} 2 1`);
    client.close();
  });

  test('UNSUB with a maximum counts since SUB', async () => {
    const [client] = await session();
    const subject = unique('w');
    client.send(
      `SUB ${subject} 1\r\n${`PUB ${subject} 1\r\nx\r\n`.repeat(2)}UNSUB 1 3\r\n${`PUB ${subject} 1\r\ny\r\n`.repeat(5)}`,
    );
    expect((await client.fence()).match(/MSG/g)).toHaveLength(3);
    client.send(
      `SUB ${subject} 2\r\n${`PUB ${subject} 1\r\nx\r\n`.repeat(3)}UNSUB 2 2\r\nPUB ${subject} 1\r\ny\r\nUNSUB 99\r\n`,
    );
    expect((await client.fence()).match(/MSG/g)).toHaveLength(3);
    client.close();
  });

  test('headers are stripped for a receiver without header support', async () => {
    const [plain] = await session();
    const [sender] = await session({ headers: true });
    const subject = unique('w');
    plain.send(`SUB ${subject} 1\r\n`);
    await plain.fence();
    const hdr = 'NATS/1.0\r\nA: b\r\n\r\n';
    sender.send(`HPUB ${subject} ${hdr.length} ${hdr.length + 4}\r\n${hdr}body\r\n`);
    expect(await plain.until(/MSG [\s\S]*body\r\n/)).toBe(`MSG ${subject} 1 4\r\nbody\r\n`);
    plain.close();
    sender.close();
  });

  test('no responders: 503 to the reply subject', async () => {
    const [client] = await session({ headers: true, no_responders: true });
    client.send(`SUB my.inbox 5\r\nPUB ${unique('nobody')} my.inbox 0\r\n\r\n`);
    expect(await client.until(/HMSG my\.inbox 5 (\d+) \1\r\nNATS\/1\.0 503\r\n/)).toContain('503');
    client.close();
  });

  test('echo false', async () => {
    const [client] = await session({ echo: false });
    client.send('SUB echo.x 1\r\nPUB echo.x 1\r\na\r\n');
    expect(await client.fence()).toBe('');
    client.close();
  });
});

describe('errors', () => {
  test.each([
    ['SUB a..b 1\r\n', 'Invalid Subject'],
    ['SUB a.>.b 1\r\n', 'Invalid Subject'],
    ['SUB .a 1\r\n', 'Invalid Subject'],
  ])('%j keeps the connection', async (input, text) => {
    const [client] = await session();
    client.send(input);
    expect(await client.fence()).toBe(`-ERR '${text}'\r\n`);
    client.close();
  });

  test.each([
    ['NONSENSE\r\n', "-ERR 'Unknown Protocol Operation'\r\n"],
    ['PUB a 2\r\nabc\r\n', "-ERR 'Unknown Protocol Operation'\r\n"],
    ['PUB a 1048577\r\n', "-ERR 'Maximum Payload Violation'\r\n"],
    [`SUB ${'a'.repeat(5000)} 1\r\n`, "-ERR 'maximum control line exceeded'\r\n"],
    ['HPUB a 20 10\r\n', ''],
    ['PUB a x\r\n', ''],
    ['SUB a\r\n', ''],
  ])('%# closes', async (input, text) => {
    const [client] = await session({ headers: true });
    client.send(input);
    expect(await client.untilClosed()).toBe(text);
  });

  test('a publish with wildcards is only refused when pedantic', async () => {
    const [client] = await session();
    client.send('PUB wild.* 1\r\nx\r\n');
    expect(await client.fence()).toBe('');
    client.close();
  });

  test('many commands in one segment answer in order', async () => {
    const [client] = await session();
    const subject = unique('w');
    client.send(`SUB ${subject} 1\r\n${`PUB ${subject} 3\r\nabc\r\nPING\r\n`.repeat(100)}`);
    let text = '';
    while ((text.match(/PONG/g) ?? []).length < 100) {
      text += client.received;
      client.received = '';
      await pause(2);
    }
    expect(text).toBe(`MSG ${subject} 1 3\r\nabc\r\nPONG\r\n`.repeat(100));
    client.close();
  });
});
