// Bounds of a server and of its connections (nats-surface NE14-NE16, L2-L4, X11): how clients are told, and what becomes of the others.
// Nodes of its own, with configuration files that both servers read.

import { writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { isRunning } from './child.ts';
import { RawClient } from './raw.ts';
import { Target, targetKind } from './target.ts';

/** With JetStream off there is nothing to wait for but the port. */
class PlainTarget extends Target {
  override async ready(): Promise<void> {
    await expect.poll(() => canConnect(this.port(0)), { timeout: 30_000 }).toBe(true);
  }
}

let target: Target | undefined;
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await target?.stop();
});

async function start(config: string, flags: string[] = [], kind = Target): Promise<Target> {
  target = new kind(targetKind(), flags);
  const file = join(target.dir, 'limits.conf');
  writeFileSync(file, config);
  flags.push('-c', file);
  await target.start(1);
  return target;
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('data', () => done(true)).once('error', () => done(false));
    sockets.push(socket);
  });
}

/** A client is asked after two seconds whether it still lives. */
function withoutPings(text: string): string {
  return text.replaceAll('PING\r\n', '');
}

async function varz(at: Target): Promise<Record<string, number>> {
  return (await (await fetch(`${at.monitorUrls[0]}/varz`)).json()) as Record<string, number>;
}

async function closedReasons(at: Target): Promise<string[]> {
  const answer = await fetch(`${at.monitorUrls[0]}/connz?state=closed`);
  return ((await answer.json()) as { connections: { reason: string }[] }).connections.map(({ reason }) => reason);
}

test('one connection too many is told so and closed; when one leaves there is room again', async () => {
  const at = await start('max_connections: 2');
  await expect.poll(async () => (await varz(at))['connections']).toBe(0);
  const [first] = await RawClient.session(at.port(0));
  const [second] = await RawClient.session(at.port(0));
  const third = await RawClient.connect(at.port(0));
  expect(await third.untilClosed()).toMatch(/^INFO .*\r\n-ERR 'maximum connections exceeded'\r\n$/);
  expect(withoutPings(await first.fence())).toBe('');
  second.close();
  await expect.poll(async () => (await varz(at))['connections']).toBe(1);
  await RawClient.session(at.port(0));
  expect(await closedReasons(at)).toContain('Maximum Connections Exceeded');
});

test('one subscription too many is refused, the connection stays', async () => {
  const at = await start('max_subscriptions: 2');
  const [client] = await RawClient.session(at.port(0));
  client.send('SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n');
  expect(withoutPings(await client.fence())).toBe("-ERR 'maximum subscriptions exceeded'\r\n");
  client.send('UNSUB 1\r\nSUB c 3\r\nPUB c 1\r\nx\r\n');
  expect(withoutPings(await client.fence())).toBe('MSG c 3 1\r\nx\r\n');
});

test('whoever leaves pings unanswered is stale', async () => {
  const at = await start('ping_interval: "500ms", ping_max: 1');
  const [silent] = await RawClient.session(at.port(0));
  expect(await silent.untilClosed()).toMatch(/^(PING\r\n)+-ERR 'Stale Connection'\r\n$/);
  expect(await closedReasons(at)).toContain('Stale Connection');
});

test('a subscriber that does not read is cut in silence, publisher and neighbour go on', async () => {
  const at = await start('max_payload: 64KB, max_pending: 1MB');
  const stuck = connect(at.port(0), '127.0.0.1');
  sockets.push(stuck);
  stuck.write('CONNECT {"verbose":false}\r\nSUB flood 1\r\nPING\r\n');
  let heard = '';
  await new Promise<void>((done) =>
    stuck.on('data', (bytes) => {
      heard += bytes;
      if (heard.includes('PONG')) done();
    }),
  );
  stuck.pause();
  const [neighbour] = await RawClient.session(at.port(0));
  neighbour.send('SUB last 1\r\n');
  await neighbour.fence();
  const [publisher] = await RawClient.session(at.port(0));
  const message = `PUB flood 60000\r\n${'x'.repeat(60_000)}\r\n`;
  await expect
    .poll(
      async () => {
        publisher.send(message.repeat(20));
        expect(withoutPings(await publisher.fence())).toBe('');
        return (await varz(at))['slow_consumers'];
      },
      { timeout: 30_000 },
    )
    .toBe(1);
  publisher.send('PUB last 1\r\nx\r\n');
  expect(await neighbour.until(/MSG.*\r\nx\r\n/)).toBe('MSG last 1 1\r\nx\r\n');
  expect(await closedReasons(at)).toContain('Slow Consumer (Pending Bytes)');
  const ended = new Promise((done) => stuck.on('close', done));
  stuck.on('error', () => {}).resume();
  await ended;
  expect(heard).not.toContain('-ERR');
});

test('lame duck mode: clients hear of it, are served, and are sent away after the grace', async () => {
  const at = await start('lame_duck_grace_period: "2s", lame_duck_duration: "30s"');
  const [publisher] = await RawClient.session(at.port(0), { protocol: 0 });
  const [client] = await RawClient.session(at.port(0), { protocol: 1 });
  client.send('SUB a 1\r\n');
  await client.fence();
  const pid = at.pid(0)!;
  at.signal(0, 'SIGUSR2');
  expect(await client.until(/INFO .*"ldm":true.*\r\n/, 5_000)).toContain('"ldm":true');
  publisher.send('PUB a 1\r\nx\r\n');
  expect(await client.until(/MSG.*\r\nx\r\n/)).toContain('MSG a 1 1\r\nx\r\n');
  expect(await canConnect(at.port(0))).toBe(false);
  expect(withoutPings(await client.untilClosed(15_000))).toBe('');
  expect(withoutPings(await publisher.untilClosed(15_000))).toBe('');
  await expect.poll(() => isRunning(pid), { timeout: 15_000 }).toBe(false);
});

test('with JetStream off its requests have no responders, and the node is healthy whichever option is asked', async () => {
  const at = await start('max_payload: 64KB', ['-js=false'], PlainTarget);
  const [client] = await RawClient.session(at.port(0), { headers: true, no_responders: true });
  client.send('SUB r 1\r\nPUB $JS.API.INFO r 0\r\n\r\n');
  expect(await client.until(/HMSG[\s\S]*503[\s\S]*\r\n\r\n\r\n/)).toContain('NATS/1.0 503\r\n');
  for (const query of ['', '?js-enabled-only=true', '?js-server-only=true', '?account=$G&stream=S']) {
    const answer = await fetch(`${at.monitorUrls[0]}/healthz${query}`);
    expect([answer.status, await answer.json()], query).toEqual([200, { status: 'ok' }]);
  }
});
