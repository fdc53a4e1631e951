import { connect, createServer, type Socket as TcpSocket } from 'node:net';
import * as os from 'node:os';
import { afterEach, describe, expect, test } from 'vitest';
import { encodeFrame } from '../../../cluster/rpc/codec.ts';
import { createLinks, type Links, type LinksOptions } from '../../../cluster/rpc/links.ts';
import { createRpc } from '../../../cluster/rpc/rpc.ts';
import { Channel } from '../../../cluster/rpc/types.ts';
import { createNodeEnv, type NodeEnv } from '../../../src/kit/env-node.ts';
import { hmacSha256 } from '../../../src/kit/hmac-node.ts';
import { nodeNet } from '../../../src/kit/net-node.ts';
import { until as untilSo } from '../until.ts';

interface Node {
  links: Links;
  lines: string[];
  ups: number[];
  downs: number[];
  address: string;
}

const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

function quietEnv(lines: string[]): NodeEnv {
  const say = (message: string) => {
    lines.push(message);
  };
  const none = () => {};
  const log = {
    debug: say,
    info: say,
    warn: say,
    error: say,
    setLevel: none,
    reopen: () => false,
    flushSync: none,
    close: none,
    fatalSync: none,
  };
  return createNodeEnv({ dataDir: os.tmpdir(), log });
}

async function node(id: number, over: Partial<LinksOptions> = {}): Promise<Node> {
  const lines: string[] = [];
  const env = quietEnv(lines);
  const links = createLinks({
    env,
    net: nodeNet,
    hmac: hmacSha256,
    self: { id, name: `n${id}`, clientUrl: '', clusterUrl: '127.0.0.1:0', monitorUrl: '' },
    listen: { host: '127.0.0.1', port: 0 },
    routes: [],
    clusterName: 'test',
    clusterId: '',
    secret: 's3cret',
    formatVersion: 1,
    bootId: id * 100,
    ...over,
  });
  const ups: number[] = [];
  const downs: number[] = [];
  links.onPeerUp((peer) => ups.push(peer.id));
  links.onPeerDown((peer) => downs.push(peer));
  await new Promise<void>((resolve, reject) => links.listen((error) => (error ? reject(error) : resolve())));
  open.push(() => new Promise((resolve) => links.close(resolve)));
  return { links, lines, ups, downs, address: `127.0.0.1:${links.port}` };
}

const until = (condition: () => boolean): Promise<number> => untilSo(String(condition), condition);

/** A TCP proxy whose connections can be cut or frozen. */
async function proxy(
  to: () => number,
): Promise<{ address: string; cut(): void; freeze(): void; recorded(): Buffer; connections(): number }> {
  const pairs: [TcpSocket, TcpSocket][] = [];
  const recorded: Buffer[] = [];
  const server = createServer((from) => {
    const onward = connect(to(), '127.0.0.1');
    pairs.push([from, onward]);
    for (const [a, b] of [
      [from, onward],
      [onward, from],
    ]) {
      a.on('error', () => b.destroy());
      a.on('close', () => b.destroy());
      a.on('data', (chunk) => b.write(chunk));
    }
    from.on('data', (chunk) => recorded.push(chunk));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const cut = () => {
    for (const [a, b] of pairs.splice(0)) {
      a.resetAndDestroy();
      b.resetAndDestroy();
    }
  };
  open.push(async () => {
    cut();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    address: `127.0.0.1:${port}`,
    cut,
    recorded: () => Buffer.concat(recorded),
    connections: () => pairs.length,
    freeze() {
      for (const [a, b] of pairs) for (const socket of [a, b]) socket.removeAllListeners('data').pause();
    },
  };
}

describe('links', () => {
  test('both dial: one link, messages of a channel stay in order in both directions, however large', async () => {
    const a = await node(1);
    const b = await node(2, { routes: [a.address] });
    a.links.addRoute(b.address);
    await until(() => a.ups.length === 1 && b.ups.length === 1);
    const got: number[] = [];
    let bytes = 0;
    b.links.onMessage(Channel.route, (from, message) => {
      expect(from).toBe(1);
      got.push(message[0] + message[1] * 256);
      bytes += message.length;
    });
    const back: string[] = [];
    a.links.onMessage(Channel.rpc, (_, message) => back.push(Buffer.from(message).toString()));
    for (let i = 0; i < 500; i++) {
      const head = Uint8Array.of(i & 255, i >> 8);
      expect(a.links.send(2, Channel.route, [head, new Uint8Array(i % 7 === 0 ? 50_000 : 10)])).toBe(true);
    }
    b.links.send(1, Channel.rpc, [Buffer.from('he'), Buffer.from('llo')]);
    await until(() => got.length === 500 && back.length === 1);
    expect(got).toEqual(got.map((_, i) => i));
    expect(bytes).toBe(500 * 2 + 72 * 50_000 + 428 * 10);
    expect(back).toEqual(['hello']);
    expect(a.links.send(9, Channel.raft, [])).toBe(false);
    expect(a.downs).toEqual([]);
    expect(a.links.peers().map((p) => p.clusterUrl)).toEqual([b.address]);
    expect(a.links.bootIdOf(2)).toBe(200);
    // A queue that is full refuses the least important first.
    const mib = new Uint8Array(1024 * 1024);
    let routes = 0;
    let rafts = 0;
    b.links.onMessage(Channel.raft, () => {});
    while (a.links.send(2, Channel.route, [mib])) routes++;
    while (a.links.send(2, Channel.raft, [mib])) rafts++;
    expect(routes).toBeLessThan(40);
    expect(routes + rafts).toBeGreaterThan(55);
    expect(routes + rafts).toBeLessThanOrEqual(64);
    await until(() => got.length === 500 + routes);
  });

  test('three nodes that know one find each other by gossip', async () => {
    const a = await node(1);
    const b = await node(2, { routes: [a.address] });
    const c = await node(3, { routes: [a.address] });
    await until(() => [a, b, c].every((n) => n.links.peers().length === 2));
    expect([a, b, c].flatMap((n) => n.downs)).toEqual([]);
    const silent = await node(4, { routes: [a.address], gossip: false });
    await until(() => silent.links.peers().length >= 1);
    expect(silent.links.peers().map((p) => p.id)).toContain(1);
  });

  test('bulk data has a connection of its own; a heartbeat never waits for it', async () => {
    const a = await node(1, { gossip: false });
    const sockets: string[] = [];
    const through = await proxy(() => a.links.port);
    const b = await node(2, { routes: [through.address], gossip: false });
    await until(() => b.ups.length === 1);
    let got = 0;
    const first: number[] = [];
    b.links.onMessage(Channel.transfer, (_, bytes) => {
      got += bytes.length;
      first.push(bytes[0]);
    });
    a.links.onMessage(Channel.transfer, (_, bytes) => sockets.push(String(bytes.length)));
    await until(() => through.connections() === 2);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const chunk = new Uint8Array(1024 * 1024);
    let sent = 0;
    while (a.links.send(2, Channel.transfer, [Uint8Array.of(sent), chunk])) sent++;
    expect(sent).toBeGreaterThan(10);
    b.links.send(1, Channel.transfer, [chunk]);
    let beats = 0;
    b.links.onHeartbeat(() => beats++);
    await until(() => got === sent * (chunk.length + 1) && sockets.length === 1 && beats > 0);
    expect(first).toEqual(first.map((_, i) => i));
    expect(b.downs).toEqual([]);
  });

  test('heartbeats carry what the source says, also while data flows', async () => {
    const a = await node(1);
    a.links.setHeartbeatSource(() => ({
      bootId: 100,
      wallUs: 5,
      clusterUs: 4,
      durable: 6,
      durableSeen: 7,
      seenBootId: 8,
      seenBefore: 9,
      diskLow: true,
    }));
    const b = await node(2, { routes: [a.address] });
    const beats: number[] = [];
    b.links.onHeartbeat((from, beat) => {
      expect({ from, ...beat }).toEqual({
        from: 1,
        bootId: 100,
        wallUs: 5,
        clusterUs: 4,
        durable: 6,
        durableSeen: 7,
        seenBootId: 8,
        seenBefore: 9,
        diskLow: true,
      });
      beats.push(1);
    });
    await until(() => beats.length >= 3);
    expect(b.links.lastHeardMs(1)).toBeGreaterThan(0);
    expect(b.links.lastHeardMs(7)).toBe(Number.NEGATIVE_INFINITY);
  });

  test.each([
    ['another cluster', { clusterName: 'other' }, /belongs to cluster/],
    ['another secret', { secret: 'x' }, /secrets of nodes/],
    ['no secret', { secret: '' }, /secrets of nodes/],
    ['a newer format', { formatVersion: 2 }, /(newer|older) cluster format/],
    ['another cluster of the same name', { clusterId: 'B' }, /another cluster of the same name/],
    [
      'the same data directory',
      { self: { id: 1, name: 'copy', clientUrl: '', clusterUrl: '127.0.0.1:0', monitorUrl: '' } },
      /two processes/,
    ],
  ] as [string, Partial<LinksOptions>, RegExp][])(
    '%s is refused with a reason on both ends, and harms nobody',
    async (_, over, reason) => {
      const a = await node(1, { clusterId: 'A' });
      const fresh = await node(2, { routes: [a.address] });
      await until(() => a.ups.length === 1);
      const wrong = await node(3, { routes: [a.address], ...over });
      await until(() => wrong.lines.some((l) => reason.test(l)) && a.lines.some((l) => reason.test(l)));
      expect(wrong.ups).toEqual([]);
      expect([...a.downs, ...fresh.downs]).toEqual([]);
      // It goes on trying; the reason is not repeated.
      await until(() => wrong.links.stats.refused >= 3);
      expect(wrong.lines.filter((l) => reason.test(l))).toHaveLength(1);
    },
  );

  test('a fresh node learns the cluster id', async () => {
    const ids: string[] = [];
    const a = await node(1, { clusterId: 'A' });
    await node(2, { routes: [a.address], onClusterId: (id) => ids.push(id) });
    await until(() => ids.length === 1);
    expect(ids).toEqual(['A']);
  });

  test('garbage, silence and data before the handshake end that connection only', async () => {
    const a = await node(1);
    const b = await node(2, { routes: [a.address] });
    await until(() => a.ups.length === 1);
    for (const bytes of [
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      Buffer.alloc(100_000, 255),
      Buffer.concat(encodeFrame({ data: { channel: [1], length: [1] } }, [Uint8Array.of(1)])),
      Buffer.concat(encodeFrame({ welcome: {} }, [])),
      Buffer.concat(encodeFrame({ hello: { format: 1, id: 5 } }, [])),
    ]) {
      const raw = connect(a.links.port, '127.0.0.1');
      raw.on('error', () => {});
      raw.on('data', () => {});
      raw.write(bytes);
      await new Promise((resolve) => raw.on('close', resolve));
    }
    expect([a.ups, a.downs, b.downs]).toEqual([[2], [], []]);
    expect(a.links.stats.refused).toBe(5);
  });

  test('a flood of garbage is a few log lines, a crowd of silent ones keeps no peer out', async () => {
    const a = await node(1);
    const strangers = (count: number, bytes: (i: number) => Uint8Array): Promise<TcpSocket[]> =>
      Promise.all(
        Array.from({ length: count }, async (_, i) => {
          const raw = connect(a.links.port, '127.0.0.1');
          raw.on('error', () => {}).resume();
          raw.write(bytes(i));
          await new Promise((resolve) => raw.once('connect', resolve));
          return raw;
        }),
      );
    await strangers(100, (i) => new Uint8Array(Uint32Array.of(0x70_00_00_00 + i).buffer));
    await until(() => a.links.stats.refused >= 100);
    const silent = await strangers(200, () => new Uint8Array(1));
    const b = await node(2, { routes: [a.address] });
    await until(() => a.ups.length === 1 && b.ups.length === 1);
    // Silent ones are left: it was not their time-out that let the peer in.
    expect(silent.filter((raw) => !raw.closed).length).toBeGreaterThan(100);
    for (const raw of silent) raw.destroy();
    const told = a.lines.filter((line) => line.startsWith('cluster connection from'));
    expect(told.length).toBeGreaterThan(0);
    expect(told.length).toBeLessThanOrEqual(5);
    expect(a.downs).toEqual([]);
  });

  test('the byte counters are those of the sockets', async () => {
    const a = await node(1, { gossip: false });
    const through = await proxy(() => a.links.port);
    const b = await node(2, { routes: [through.address], gossip: false });
    await until(() => b.ups.length === 1 && a.ups.length === 1);
    b.links.send(1, Channel.raft, [new Uint8Array(5000)]);
    b.links.send(1, Channel.transfer, [new Uint8Array(7000)]);
    const passed = (): boolean =>
      b.links.stats.bytesOut > 12_000 &&
      b.links.stats.bytesOut === through.recorded().length &&
      b.links.stats.bytesOut === a.links.stats.bytesIn &&
      a.links.stats.bytesOut === b.links.stats.bytesIn;
    await until(passed);
  });

  test('without gossip only configured addresses are dialed', async () => {
    const a = await node(1, { gossip: false });
    const direct = await node(2, { gossip: false });
    const through = await proxy(() => direct.links.port);
    a.links.addRoute(through.address);
    await until(() => a.ups.length === 1);
    const c = await node(3, { routes: [a.address], gossip: false });
    await until(() => c.ups.length === 1);
    through.cut();
    await until(() => a.ups.length === 3 && a.downs.length === 1);
    expect([through.connections() > 0, c.ups, direct.links.peers().map((peer) => peer.id)]).toEqual([true, [1], [1]]);
  });

  test('a recorded handshake cannot be played again', async () => {
    const a = await node(1);
    const through = await proxy(() => a.links.port);
    const b = await node(2, { routes: [through.address], gossip: false });
    await until(() => b.ups.length === 1);
    b.links.send(1, Channel.raft, [Uint8Array.of(1)]);
    await until(() => b.links.stats.framesOut >= 1);
    const played = through.recorded();
    await new Promise<void>((resolve) => b.links.close(resolve));
    await until(() => a.downs.length === 1);
    const raw = connect(a.links.port, '127.0.0.1');
    raw.on('error', () => {});
    raw.on('data', () => {});
    raw.write(played);
    await new Promise((resolve) => raw.on('close', resolve));
    expect(a.ups).toEqual([2]);
    expect(a.lines.some((l) => /secrets of nodes/.test(l))).toBe(true);
  });

  test('reset: down at once on both ends, then dialed again', async () => {
    const a = await node(1, { gossip: false });
    const through = await proxy(() => a.links.port);
    const b = await node(2, { routes: [through.address], gossip: false });
    await until(() => a.ups.length === 1 && b.ups.length === 1);
    through.cut();
    expect(await until(() => a.downs.length === 1 && b.downs.length === 1)).toBeLessThan(500);
    expect([...a.lines, ...b.lines].filter((line) => /is down: silent/.test(line))).toEqual([]);
    await until(() => a.ups.length === 2 && b.ups.length === 2);
  });

  test('silence of 2 s is a lost link, also when TCP does not say so', async () => {
    const a = await node(1, { gossip: false });
    const through = await proxy(() => a.links.port);
    const b = await node(2, { routes: [through.address], gossip: false });
    await until(() => a.ups.length === 1 && b.ups.length === 1);
    const start = performance.now();
    through.freeze();
    const ownMs = await until(() => a.downs.length === 1 && b.downs.length === 1);
    expect(performance.now() - start).toBeGreaterThan(1_800);
    expect(ownMs).toBeLessThan(3_500);
    await until(() => a.ups.length === 2 && b.ups.length === 2);
  });

  test('a restarted peer replaces its former life', async () => {
    const a = await node(1);
    const b = await node(2, { routes: [a.address] });
    await until(() => a.ups.length === 1);
    await new Promise<void>((resolve) => b.links.close(resolve));
    await node(2, { routes: [a.address], bootId: 777 });
    await until(() => a.links.bootIdOf(2) === 777);
    expect(a.ups).toEqual([2, 2]);
    expect(a.downs).toEqual([2]);
  });

  test('an address that is taken is said', async () => {
    const a = await node(1);
    await expect(node(2, { listen: { host: '127.0.0.1', port: a.links.port } })).rejects.toThrow(/EADDRINUSE/);
  });
});

describe('rpc over links', () => {
  test('answers, refusals, self, timeouts, lost links: each exactly once', async () => {
    const env = quietEnv([]);
    const a = await node(1);
    const through = await proxy(() => a.links.port);
    const b = await node(2, { routes: [through.address], gossip: false });
    const server = createRpc(env, a.links);
    const client = createRpc(env, b.links);
    server.handle('echo', (from, bytes, reply) => reply(Uint8Array.of(from, ...bytes)));
    server.handle('never', () => {});
    client.handle('mine', (_, bytes, reply) => reply(bytes));
    const ask = (to: number, method: string, timeoutMs = 5_000) =>
      new Promise<string>((resolve) =>
        client.request(to, method, Uint8Array.of(7), timeoutMs, (r) =>
          resolve(r.ok ? Buffer.from(r.bytes).toString('hex') : r.reason),
        ),
      );
    expect(await ask(1, 'echo')).toBe('no-link');
    await until(() => b.ups.length === 1);
    expect(await ask(1, 'echo')).toBe('0207');
    expect(await ask(1, 'nothing')).toBe('refused');
    expect(await ask(1, 'never', 20)).toBe('timeout');
    expect(await ask(2, 'mine')).toBe('07');
    expect(await ask(2, 'nothing')).toBe('refused');
    const lost = ask(1, 'never');
    await ask(1, 'echo');
    through.cut();
    expect(await lost).toBe('link-lost');
  });
});
