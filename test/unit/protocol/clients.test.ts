// The official JavaScript clients, old and new, against one node: the same story told to both.
import { connect as connectNew, headers as headersNew } from '@nats-io/transport-node';
import { connect as connectOld, headers as headersOld } from 'nats';
import { describe, expect, test } from 'vitest';
import { startFront } from './front-world.ts';

type Options = Parameters<typeof connectNew>[0];
type Connection = Awaited<ReturnType<typeof connectNew>>;

const clients = [
  {
    name: 'nats',
    open: (options: Options) =>
      connectOld(options as Parameters<typeof connectOld>[0]) as unknown as Promise<Connection>,
    headers: headersOld as unknown as typeof headersNew,
  },
  { name: '@nats-io/transport-node', open: connectNew, headers: headersNew },
];

const text = (data: Uint8Array) => Buffer.from(data).toString();

for (const { name, open, headers } of clients) {
  describe(name, () => {
    const start = async (options: Parameters<typeof startFront>[0] = {}) => {
      const world = await startFront(options);
      return { ...world, servers: `127.0.0.1:${world.port}` };
    };

    test('publish and subscribe with wildcards, headers and drain', async () => {
      const { servers } = await start();
      const nc = await open({ servers });
      const got: string[] = [];
      const sub = nc.subscribe('orders.*.new');
      const reading = (async () => {
        for await (const m of sub) got.push(`${m.subject} ${text(m.data)} ${m.headers?.get('Trace') ?? '-'}`);
      })();
      const h = headers();
      h.set('Trace', 'abc');
      for (let i = 0; i < 1000; i++) nc.publish(`orders.${i}.new`, `p${i}`, i === 999 ? { headers: h } : {});
      nc.publish('orders.1.old', 'no');
      await nc.drain();
      await reading;
      expect(got.length).toBe(1000);
      expect(got[0]).toBe('orders.0.new p0 -');
      expect(got[999]).toBe('orders.999.new p999 abc');
    });

    test('request and reply, many at a time, and no responders', async () => {
      const { servers } = await start();
      const service = await open({ servers });
      service.subscribe('svc', { callback: (_error, m) => void m.respond(`re ${text(m.data)}`) });
      await service.flush();
      const nc = await open({ servers });
      const answers = await Promise.all(
        Array.from({ length: 500 }, (_, i) => nc.request('svc', `q${i}`, { timeout: 5_000, noMux: i % 50 === 0 })),
      );
      expect(answers.map((m) => text(m.data))).toEqual(Array.from({ length: 500 }, (_, i) => `re q${i}`));
      await expect(nc.request('nobody', '', { timeout: 5_000 })).rejects.toThrow(/503|no responders/i);
      await nc.close();
      await service.close();
    });

    test('queue groups and a maximum of messages', async () => {
      const { servers } = await start();
      const nc = await open({ servers });
      const counts = [0, 0, 0];
      for (let i = 0; i < 3; i++) nc.subscribe('work', { queue: 'q', callback: () => void counts[i]++ });
      let limited = 0;
      nc.subscribe('work', { max: 7, callback: () => void limited++ });
      for (let i = 0; i < 300; i++) nc.publish('work');
      await nc.flush();
      expect(counts[0] + counts[1] + counts[2]).toBe(300);
      for (const count of counts) expect(count).toBeGreaterThan(50);
      expect(limited).toBe(7);
      await nc.close();
    });

    test('no echo', async () => {
      const { servers } = await start();
      const nc = await open({ servers, noEcho: true });
      const other = await open({ servers });
      let own = 0;
      nc.subscribe('a', { callback: () => void own++ });
      await nc.flush();
      nc.publish('a');
      await nc.flush();
      expect(own).toBe(0);
      other.publish('a');
      await other.flush();
      await nc.flush();
      expect(own).toBe(1);
      await nc.close();
      await other.close();
    });

    test('credentials', async () => {
      const { servers } = await start({ auth: { users: [{ user: 'me', password: 'pw' }] } });
      await expect(open({ servers, user: 'me', pass: 'no', reconnect: false })).rejects.toThrow(/authorization/i);
      await expect(open({ servers, reconnect: false })).rejects.toThrow(/authorization/i);
      const nc = await open({ servers, user: 'me', pass: 'pw' });
      expect(nc.info?.auth_required).toBe(true);
      await nc.close();
    });

    test('payloads up to the limit pass, larger ones are refused', async () => {
      const { servers } = await start();
      const nc = await open({ servers });
      const sizes: number[] = [];
      nc.subscribe('big', { callback: (_error, m) => void sizes.push(m.data.length) });
      nc.publish('big', new Uint8Array(1_048_576));
      nc.publish('big', new Uint8Array(70_000));
      await nc.flush();
      expect(sizes).toEqual([1_048_576, 70_000]);
      expect(() => nc.publish('big', new Uint8Array(1_048_577))).toThrow();
      await nc.close();
    });

    test('learns the topology, and reconnects when the server ends the session', async () => {
      const { servers, front, info } = await start();
      const nc = await open({ servers, reconnectTimeWait: 10, maxReconnectAttempts: 50 });
      const statuses: string[] = [];
      // The old client's iterator does not end with the connection, so nobody waits for it.
      void (async () => {
        for await (const status of nc.status()) statuses.push(status.type);
      })();
      info.connect_urls = [servers, '127.0.0.1:1'];
      front.updateInfo();
      await nc.flush();
      let got = 0;
      nc.subscribe('a', { callback: () => void got++ });
      await nc.flush();
      front.kick(1);
      while (!statuses.includes('reconnect')) await new Promise((next) => setTimeout(next, 5));
      nc.publish('a');
      await nc.flush();
      expect(got).toBe(1);
      expect(statuses).toContain('disconnect');
      await nc.close();
    });
  });
}
