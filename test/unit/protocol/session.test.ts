// Sessions over real sockets, spoken by hand: exact frames and -ERR texts, limits, ends.
import { describe, expect, test } from 'vitest';
import type { NatsFront } from '../../../src/protocols/nats/front.ts';
import { QUIET, RawClient, startFront } from './front-world.ts';

describe('greeting', () => {
  test('INFO names what clients read', async () => {
    const { port, info } = await startFront();
    info.connect_urls = ['10.0.0.1:4222', '10.0.0.2:4222'];
    info.own_urls = ['10.0.0.1:4222'];
    const c = await RawClient.open(port);
    expect(c.text).toMatch(/^INFO \{.*\} \r\n$/);
    expect(c.infos[0]).toMatchObject({
      server_id: 'NTEST',
      server_name: 'n1',
      version: '2.14.0',
      proto: 1,
      go: expect.any(String),
      host: '127.0.0.1',
      port,
      headers: true,
      max_payload: 1048576,
      client_id: 1,
      client_ip: '127.0.0.1',
      api_lvl: 4,
      connect_urls: ['10.0.0.1:4222', '10.0.0.2:4222'],
    });
    for (const absent of ['auth_required', 'ldm', 'own_urls', 'nonce']) expect(c.infos[0]).not.toHaveProperty(absent);
  });

  test('news of the topology reach clients of protocol 1 only', async () => {
    const { port, front, info } = await startFront();
    const young = await RawClient.open(port, QUIET);
    const old = await RawClient.open(port, 'CONNECT {"verbose":false,"protocol":0}\r\n');
    const silent = await RawClient.open(port);
    info.connect_urls = ['10.0.0.9:4222'];
    front.updateInfo();
    await young.say('');
    await old.say('');
    expect(young.infos.at(-1)?.connect_urls).toEqual(['10.0.0.9:4222']);
    expect(old.infos.length).toBe(1);
    expect(silent.infos.length).toBe(1);
  });

  test('lame duck: told where else to go, no new clients, closed after the grace', async () => {
    const { port, front, info } = await startFront();
    info.connect_urls = ['10.0.0.1:4222', '10.0.0.2:4222'];
    info.own_urls = ['10.0.0.1:4222'];
    const c = await RawClient.open(port, QUIET);
    const finished = new Promise<void>((done) => front.lameDuck(20, 10, done));
    await c.say('');
    expect(c.infos.at(-1)).toMatchObject({ ldm: true, connect_urls: ['10.0.0.2:4222'] });
    await expect(RawClient.open(port).then((late) => late.infos.length)).resolves.toBe(0);
    await finished;
    await c.end();
    expect(front.closed().at(-1)?.reason).toBe('Server Shutdown');
  });
});

describe('lame duck', () => {
  const ended = (front: NatsFront, graceMs: number, durationMs: number) =>
    new Promise<void>((done) => front.lameDuck(graceMs, durationMs, done));

  test('is over at once when nobody is there, and as soon as the last one has left', async () => {
    const alone = await startFront();
    await ended(alone.front, 60_000, 60_000);
    const { port, front } = await startFront();
    const clients = await Promise.all([RawClient.open(port, QUIET), RawClient.open(port, QUIET)]);
    const over = ended(front, 60_000, 60_000);
    for (const client of clients) client.socket.destroy();
    await over;
  });

  test('few clients are not kept for long', async () => {
    const { port, front } = await startFront();
    const clients = await Promise.all([RawClient.open(port, QUIET), RawClient.open(port, QUIET)]);
    const before = performance.now();
    await ended(front, 10, 120_000);
    expect(performance.now() - before).toBeLessThan(10_000);
    for (const client of clients) await client.end();
    expect(front.closed().map(({ reason }) => reason)).toEqual(['Server Shutdown', 'Server Shutdown']);
  });

  test('a close overtakes it', async () => {
    const { port, front } = await startFront();
    const c = await RawClient.open(port, QUIET);
    let isOver = false;
    front.lameDuck(60_000, 60_000, () => {
      isOver = true;
    });
    await new Promise<void>((done) => front.close(done));
    await c.end();
    expect(isOver).toBe(false);
  });
});

describe('options', () => {
  test('a bare CONNECT is verbose, pedantic and hears itself', async () => {
    const { port } = await startFront();
    const c = await RawClient.open(
      port,
      'CONNECT {}\r\nSUB foo 1\r\nPUB foo 2\r\nhi\r\nUNSUB 1\r\nPUB foo.* 0\r\n\r\n',
    );
    expect(c.take()).toBe("+OK\r\n+OK\r\n+OK\r\nMSG foo 1 2\r\nhi\r\n+OK\r\n-ERR 'Invalid Publish Subject'\r\n+OK\r\n");
  });

  test('not verbose, not pedantic, no echo', async () => {
    const { port } = await startFront();
    const c = await RawClient.open(
      port,
      'CONNECT {"verbose":false,"pedantic":false,"echo":false}\r\nSUB foo 1\r\nPUB foo 2\r\nhi\r\n',
    );
    expect(c.take()).toBe('');
    const other = await RawClient.open(port, `${QUIET}PUB foo 2\r\nho\r\n`);
    await c.say('');
    expect(c.take()).toBe('MSG foo 1 2\r\nho\r\n');
    expect(other.take()).toBe('');
  });

  test('a second CONNECT drops the subscriptions', async () => {
    const { port, broker } = await startFront();
    const c = await RawClient.open(port, `${QUIET}SUB foo 1\r\n`);
    expect(broker.stats.subscriptions).toBe(1);
    await c.say(QUIET);
    expect(broker.stats.subscriptions).toBe(0);
    expect(c.closed).toBe(false);
  });

  test.each([
    ['{"verbose":"yes"}', '', 'Protocol Violation'],
    ['{', '', 'Protocol Violation'],
    ['[]', '', 'Protocol Violation'],
    ['{"protocol":2}', "-ERR 'invalid client protocol'\r\n", 'Bad Client Protocol Version'],
    ['{"no_responders":true}', "-ERR 'no responders requires headers support'\r\n", 'No Responders Requires Headers'],
    ['{"account":"A"}', "-ERR 'Authorization Violation'\r\n", 'Authentication Failure'],
  ])('CONNECT %s ends: %j, %s', async (json, said, reason) => {
    const { port, front } = await startFront();
    const c = await RawClient.open(port);
    c.write(`CONNECT ${json}\r\n`);
    await c.end();
    expect(c.take()).toBe(said);
    expect(front.closed().at(-1)?.reason).toBe(reason);
  });
});

describe('messages', () => {
  test('exact frames: reply, headers, empty, non-ASCII, two overlapping subscriptions', async () => {
    const { port } = await startFront();
    const c = await RawClient.open(port, `${QUIET}SUB a 7\r\nSUB größe.* 8\r\n`);
    await c.say(
      'PUB a 0\r\n\r\nPUB a re.ply 3\r\nabc\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\n',
    );
    expect(c.take()).toBe(
      'MSG a 7 0\r\n\r\nMSG a 7 re.ply 3\r\nabc\r\nHMSG a 7 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHMSG a 7 r 12 12\r\nNATS/1.0\r\n\r\n\r\n',
    );
    await c.say('SUB > 9\r\nUNSUB 7\r\nPUB größe.x ü 2\r\nok\r\n');
    const text = Buffer.from(c.take(), 'latin1').toString('utf8');
    expect(text.match(/MSG größe\.x [89] ü 2\r\nok\r\n/g)?.length).toBe(2);
  });

  test('headers are stripped for a client that did not negotiate them', async () => {
    const { port } = await startFront();
    const old = await RawClient.open(port, 'CONNECT {"verbose":false}\r\nSUB a 1\r\n');
    await RawClient.open(port, `${QUIET}HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n`);
    await old.say('');
    expect(old.take()).toBe('MSG a 1 2\r\nhi\r\n');
  });

  test('bodies of every size arrive whole and in order', async () => {
    const { port } = await startFront();
    const sizes = [1, 100, 4000, 4096, 4200, 16_383, 16_384, 20_000, 65_500, 65_536, 70_000, 300_000, 1_048_576, 5];
    const c = await RawClient.open(port, `${QUIET}SUB a 1\r\n`);
    c.take();
    const frames = sizes.map((size, i) => `a ${size}\r\n${String.fromCharCode(97 + i).repeat(size)}\r\n`);
    await c.say(frames.map((frame) => `PUB ${frame}`).join(''));
    expect(c.take() === frames.map((frame) => `MSG ${frame.replace(' ', ' 1 ')}`).join('')).toBe(true);
    const hdr = 'NATS/1.0\r\nA: b\r\n\r\n';
    const lengths = `${hdr.length} ${hdr.length + 50_000}`;
    await c.say(`HPUB a ${lengths}\r\n${hdr}${'z'.repeat(50_000)}\r\n`);
    expect(c.take() === `HMSG a 1 ${lengths}\r\n${hdr}${'z'.repeat(50_000)}\r\n`).toBe(true);
  });

  test('UNSUB with a maximum counts all deliveries since SUB', async () => {
    const { port, broker } = await startFront();
    const c = await RawClient.open(port, `${QUIET}SUB a 1\r\nUNSUB 1 2\r\n`);
    await c.say('PUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\n');
    expect(c.take()).toBe('MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\n');
    expect(broker.stats.subscriptions).toBe(0);
    await c.say('SUB b 2\r\nPUB b 1\r\n1\r\nUNSUB 2 1\r\nUNSUB 99\r\nPUB b 1\r\n2\r\n');
    expect(c.take()).toBe('MSG b 2 1\r\n1\r\n');
  });

  test('a sid that is in use is ignored; bad subjects are answered and change nothing', async () => {
    const { port, broker } = await startFront();
    const c = await RawClient.open(
      port,
      `${QUIET}SUB a 1\r\nSUB b 1\r\nSUB a..b 2\r\nSUB a.>.b 3\r\nSUB a _sys_ 4\r\n`,
    );
    const refused = `-ERR 'Permissions Violation for Subscription to "a" using queue "_sys_"'\r\n`;
    expect(c.take()).toBe(`${"-ERR 'Invalid Subject'\r\n".repeat(2)}${refused}`);
    expect(broker.stats.subscriptions).toBe(1);
  });

  test('no responders: 503 to the asker alone, only when nobody is there', async () => {
    const { port } = await startFront();
    const c = await RawClient.open(port, `${QUIET}SUB _INBOX.1.* 5\r\n`);
    const wiretap = await RawClient.open(port, `${QUIET}SUB _INBOX.> 1\r\n`);
    await c.say('PUB svc.x _INBOX.1.a 0\r\n\r\nPUB svc.x other 0\r\n\r\nPUB svc.x 0\r\n\r\n');
    const hdr = 'NATS/1.0 503\r\nNats-Subject: svc.x\r\n\r\n';
    expect(c.take()).toBe(`HMSG _INBOX.1.a 5 ${hdr.length} ${hdr.length}\r\n${hdr}\r\n`);
    await wiretap.say('SUB svc.x 2\r\n');
    await c.say('PUB svc.x _INBOX.1.b 0\r\n\r\n');
    expect(c.take()).toBe('');
    const plain = await RawClient.open(
      port,
      'CONNECT {"verbose":false,"headers":true}\r\nSUB in 1\r\nPUB nobody in 0\r\n\r\n',
    );
    expect(plain.take()).toBe('');
  });

  test('queue groups, one member each', async () => {
    const { port } = await startFront();
    const c = await RawClient.open(port, `${QUIET}SUB a q 1\r\nSUB a q 2\r\nSUB a r 3\r\n`);
    await c.say('PUB a 1\r\nx\r\n'.repeat(60));
    const text = c.take();
    const count = (sid: number) => text.split(`MSG a ${sid} 1`).length - 1;
    expect(count(1) + count(2)).toBe(60);
    expect(count(1)).toBeGreaterThan(10);
    expect(count(2)).toBeGreaterThan(10);
    expect(count(3)).toBe(60);
  });

  test('PONG comes after everything that went before its PING', async () => {
    const { port } = await startFront();
    const c = await RawClient.open(port, QUIET);
    c.take();
    c.write('SUB a 1\r\nPUB a 1\r\n1\r\nPING\r\nPUB a 1\r\n2\r\nPING\r\n');
    await c.until((text) => text.split('PONG').length === 3);
    expect(c.text).toBe('MSG a 1 1\r\n1\r\nPONG\r\nMSG a 1 1\r\n2\r\nPONG\r\n');
  });
});

describe('refused input', () => {
  test.each([
    ['GET / HTTP/1.1\r\n', "-ERR 'Unknown Protocol Operation'\r\n", 'Parse Error'],
    ['PUB a 2\r\nhiPING\r\n', "-ERR 'Unknown Protocol Operation'\r\n", 'Parse Error'],
    ['PUB a 1048577\r\n', "-ERR 'Maximum Payload Violation'\r\n", 'Maximum Message Payload Exceeded'],
    [`SUB ${'x'.repeat(5000)} 1\r\n`, "-ERR 'maximum control line exceeded'\r\n", 'Maximum Control Line Exceeded'],
    ['PUB a\r\n', '', 'Protocol Violation'],
    ['SUB a\r\n', '', 'Protocol Violation'],
    ['HPUB a 9 1\r\n', '', 'Message Header Violation'],
  ])('%.20j', async (input, said, reason) => {
    const { port, front } = await startFront();
    const c = await RawClient.open(port, QUIET);
    c.take();
    c.write(input);
    await c.end();
    expect(c.take()).toBe(said);
    expect(front.closed().at(-1)?.reason).toBe(reason);
  });

  test('HPUB that was not negotiated ends in silence', async () => {
    const { port } = await startFront();
    const c = await RawClient.open(port, 'CONNECT {"verbose":false}\r\n');
    c.take();
    c.write('HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n');
    await c.end();
    expect(c.take()).toBe('');
  });

  test('disconnects in the middle of a line or a payload leave nothing behind', async () => {
    const { port, front, broker } = await startFront();
    for (const half of ['SUB a.b', 'PUB a 1000\r\nonly some', 'CONNECT {"ver', 'P']) {
      const c = await RawClient.open(port, `${QUIET}SUB x 1\r\n`);
      c.write(half);
      c.socket.end();
      await c.end();
    }
    expect(front.connections()).toEqual([]);
    expect(broker.stats.subscriptions).toBe(0);
    expect(front.closed().map((info) => info.reason)).toEqual(new Array(4).fill('Client Closed'));
  });
});

describe('who may connect', () => {
  const users = {
    users: [
      { user: 'alice', password: 's3cret' },
      { user: 'bob', password: 'hunter2', account: 'B' },
    ],
  };
  const hello = (fields: Record<string, unknown>) => `CONNECT ${JSON.stringify({ verbose: false, ...fields })}\r\n`;

  test('users and passwords; accounts are apart', async () => {
    const { port, front } = await startFront({ auth: users });
    const alice = await RawClient.open(port);
    expect(alice.infos[0]?.auth_required).toBe(true);
    await alice.say(`${hello({ user: 'alice', pass: 's3cret' })}SUB > 1\r\n`);
    const bob = await RawClient.open(port, `${hello({ user: 'bob', pass: 'hunter2' })}SUB > 1\r\nPUB a 1\r\nx\r\n`);
    expect(bob.take()).toBe('MSG a 1 1\r\nx\r\n');
    await alice.say('');
    expect(alice.take()).toBe('');
    expect(front.connections().map((info) => [info.user, info.account])).toEqual([
      ['alice', '$G'],
      ['bob', 'B'],
    ]);
  });

  test.each([
    hello({}),
    hello({ user: 'alice', pass: 'wrong' }),
    hello({ user: 'mallory', pass: 's3cret' }),
    hello({ user: 'alice' }),
    hello({ auth_token: 's3cret' }),
    'PING\r\n',
    'SUB a 1\r\n',
  ])('refused: %j', async (input) => {
    const { port, front } = await startFront({ auth: users });
    const c = await RawClient.open(port);
    c.write(`${input}PING\r\n`);
    await c.end();
    expect(c.take()).toBe("-ERR 'Authorization Violation'\r\n");
    expect(front.closed().at(-1)?.reason).toBe('Authentication Failure');
  });

  test('a token', async () => {
    const { port } = await startFront({ auth: { token: 'open sesame' } });
    const good = await RawClient.open(port, hello({ auth_token: 'open sesame' }));
    expect(good.closed).toBe(false);
    const bad = await RawClient.open(port);
    bad.write(hello({ auth_token: 'open sesam' }));
    await bad.end();
    expect(bad.take()).toBe("-ERR 'Authorization Violation'\r\n");
  });

  test('no_auth_user stands in for clients without credentials only', async () => {
    const { port, front } = await startFront({ auth: { ...users, noAuthUser: 'bob' } });
    const c = await RawClient.open(port, hello({}));
    expect(c.infos[0]).not.toHaveProperty('auth_required');
    expect(front.connections()[0].account).toBe('B');
    const bad = await RawClient.open(port);
    bad.write(hello({ user: 'alice', pass: 'x' }));
    await bad.end();
    expect(bad.take()).toBe("-ERR 'Authorization Violation'\r\n");
  });

  test('who says nothing is sent away in time, also if it dribbles', async () => {
    const { port, front } = await startFront({ auth: users, limits: { authTimeoutMs: 100 } });
    const c = await RawClient.open(port);
    c.write('CONNECT {"user":');
    await c.end();
    expect(c.take()).toBe("-ERR 'Authentication Timeout'\r\n");
    expect(front.closed().at(-1)?.reason).toBe('Authentication Timeout');
  });
});

describe('limits', () => {
  test('connections beyond the maximum are told and closed; when one leaves there is room', async () => {
    const { port, front } = await startFront({ limits: { connectionsMax: 2 } });
    const a = await RawClient.open(port, QUIET);
    await RawClient.open(port, QUIET);
    const c = await RawClient.open(port);
    await c.end();
    expect(c.text).toMatch(/^INFO .*\r\n-ERR 'maximum connections exceeded'\r\n$/);
    expect(front.stats.connections).toBe(2);
    a.socket.end();
    await a.end();
    const d = await RawClient.open(port, QUIET);
    expect(d.closed).toBe(false);
  });

  test('subscriptions', async () => {
    const { port } = await startFront({ limits: { subscriptionsMax: 2 } });
    const c = await RawClient.open(port, `${QUIET}SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n`);
    expect(c.take()).toBe("-ERR 'maximum subscriptions exceeded'\r\n");
    await c.say('UNSUB 1\r\nSUB c 3\r\n');
    expect(c.take()).toBe('');
  });

  test('who does not answer pings is stale; who does is measured', async () => {
    const { port, front } = await startFront({ limits: { pingIntervalMs: 60 } });
    const alive = await RawClient.open(port, QUIET);
    alive.socket.on('data', (chunk) => {
      if (chunk.includes('PING')) alive.write('PONG\r\n');
    });
    const dead = await RawClient.open(port, QUIET);
    await dead.end();
    expect(dead.take()).toMatch(/^PING\r\nPING\r\n-ERR 'Stale Connection'\r\n$/);
    expect(front.stats.staleConnections).toBe(1);
    expect(alive.closed).toBe(false);
    expect(front.connections()[0].rttMs).toBeGreaterThan(0);
  });

  test('a kicked client', async () => {
    const { port, front } = await startFront();
    const c = await RawClient.open(port, QUIET);
    expect(front.kick(1)).toBe(true);
    expect(front.kick(1)).toBe(false);
    await c.end();
    expect(front.closed()[0].reason).toBe('Kicked');
  });

  test('100,000 subscriptions on one connection', async () => {
    const { port, broker, front } = await startFront();
    const before = process.memoryUsage().heapUsed;
    const c = await RawClient.open(port, QUIET);
    const began = process.cpuUsage();
    let text = '';
    for (let i = 0; i < 100_000; i++) text += `SUB some.subject.${i} ${i}\r\n`;
    await c.say(text);
    expect(broker.stats.subscriptions).toBe(100_000);
    await c.say('PUB some.subject.77777 1\r\nx\r\n');
    expect(c.take()).toBe('MSG some.subject.77777 77777 1\r\nx\r\n');
    expect((process.memoryUsage().heapUsed - before) / 100_000).toBeLessThan(1_500);
    expect(front.subscriptions(1)?.length).toBe(100_000);
    c.socket.destroy();
    await c.end();
    while (broker.stats.subscriptions > 0) await new Promise(setImmediate);
    // Processor time, which other processes take nothing of: the square of so many would be minutes.
    expect(process.cpuUsage(began).user / 1000).toBeLessThan(20_000);
  });

  test('a slow consumer is cut, in silence; another subscriber gets everything', async () => {
    const { port, front } = await startFront({ limits: { pendingBytesMax: 4 * 1024 * 1024 } });
    const slow = await RawClient.open(port, `${QUIET}SUB flood 1\r\n`);
    slow.socket.pause();
    const good = await RawClient.open(port, `${QUIET}SUB flood 1\r\n`);
    good.keep = false;
    good.bytes = 0;
    const publisher = await RawClient.open(port, QUIET);
    const payload = 'x'.repeat(8_000);
    const frame = Buffer.from(`PUB flood 8000\r\n${payload}\r\n`);
    const batch = Buffer.concat(new Array(100).fill(frame));
    const total = 4_000;
    for (let sent = 0; sent < total; sent += 100) {
      if (!publisher.socket.write(batch)) await new Promise((drained) => publisher.socket.once('drain', drained));
    }
    const perMessage = `MSG flood 1 8000\r\n${payload}\r\n`.length;
    await good.until(() => good.bytes >= total * perMessage);
    // On a slow machine it is asked in between whether it still lives.
    expect([0, 'PING\r\n'.length]).toContain(good.bytes - total * perMessage);
    expect(front.stats.slowConsumers).toBe(1);
    expect(front.stats.stalledClients).toBeGreaterThan(0);
    expect(front.closed().map((info) => info.reason)).toEqual(['Slow Consumer (Pending Bytes)']);
    slow.keep = false;
    slow.socket.resume();
    await slow.end();
    expect(publisher.closed).toBe(false);
  });

  test('a socket that takes nothing for the write deadline is cut', async () => {
    const { port, front } = await startFront({ limits: { writeDeadlineMs: 100 } });
    const slow = await RawClient.open(port, `${QUIET}SUB flood 1\r\n`);
    slow.socket.pause();
    const publisher = await RawClient.open(port, QUIET);
    await publisher.say(`PUB flood 900000\r\n${'x'.repeat(900_000)}\r\n`.repeat(20));
    while (front.closed().length === 0) await new Promise((next) => setTimeout(next, 20));
    expect(front.closed()[0].reason).toBe('Slow Consumer (Write Deadline)');
  });
});

test('monitoring sees counts of payload and header bytes', async () => {
  const { port, front } = await startFront();
  const c = await RawClient.open(
    port,
    'CONNECT {"verbose":false,"headers":true,"name":"me","lang":"raw","version":"9"}\r\nSUB a 1\r\nSUB a q 2\r\n',
  );
  await c.say('PUB a 10\r\n0123456789\r\nHPUB a 12 15\r\nNATS/1.0\r\n\r\nabc\r\n');
  const [info] = front.connections();
  expect(info).toMatchObject({
    cid: 1,
    ip: '127.0.0.1',
    name: 'me',
    lang: 'raw',
    version: '9',
    inMsgs: 2,
    inBytes: 25,
    outMsgs: 4,
    outBytes: 50,
    subscriptions: 2,
    pendingBytes: 0,
  });
  expect(front.subscriptions(1)).toMatchObject([
    { subject: 'a', queue: '', sid: '1', msgs: 2 },
    { subject: 'a', queue: 'q', sid: '2', msgs: 2 },
  ]);
  expect(front.stats).toMatchObject({
    connections: 1,
    totalConnections: 1,
    inMsgs: 2,
    outMsgs: 4,
    inBytes: 25,
    outBytes: 50,
  });
});

test('closing flushes what is owed and ends every session', async () => {
  const { port, front } = await startFront();
  const c = await RawClient.open(port, `${QUIET}SUB a 1\r\n`);
  c.take();
  c.write(`PUB a 100000\r\n${'x'.repeat(100_000)}\r\n`);
  await c.until((text) => text.length > 0);
  await new Promise<void>((done) => front.close(done));
  await c.end();
  expect(c.text.length).toBe('MSG a 1 100000\r\n\r\n'.length + 100_000);
});
