// Every call settles: whole nodes in the simulator, links cut in every direction, and no request that entered a running node waits
// longer than a client with defaults is promised. The side without a majority refuses with JetStream's own errors.
import { describe, expect, test } from 'vitest';
import { type Outcome, SimClient } from '../../sim/sim-client.ts';
import { World } from '../../sim/world.ts';

const SETTLED_MS_MAX = 3000;
const CALL_EVERY_MS = 40;
/** Far beyond the promise: a call that is only ended by this has hung. */
const PATIENCE_MS = 20_000;

interface Call {
  node: string;
  subject: string;
  atMs: number;
  tookMs: number;
  outcome: Outcome;
}

class Cluster {
  readonly world: World;
  readonly clients: SimClient[];
  readonly calls: Call[] = [];
  #open = 0;
  #busy = false;
  #count = 0;

  constructor(seed: number) {
    this.world = new World(seed, 3);
    for (const node of this.world.nodes) node.start();
    this.clients = this.world.nodes.map((node) => new SimClient(`at-${node.name}`, this.world.scheduler, node));
    for (const name of ['A', 'B', 'C']) this.#created(`STREAM.CREATE.${name}`, stream(name));
    this.#created('CONSUMER.DURABLE.CREATE.A.D', {
      stream_name: 'A',
      // Never has a message: every pull that is served ends with a status.
      config: { durable_name: 'D', ack_policy: 'explicit', filter_subject: 'A.none' },
    });
  }

  #created(operation: string, body: object): void {
    const deadlineMs = this.world.scheduler.nowMs + 60_000;
    for (;;) {
      const { outcome } = this.request(0, `$JS.API.${operation}`, JSON.stringify(body));
      if (outcome.kind === 'reply' && !outcome.text.includes('"error"')) return;
      if (this.world.scheduler.nowMs > deadlineMs) throw new Error(`${operation}: ${JSON.stringify(outcome)}`);
      this.world.scheduler.runFor(200);
    }
  }

  request(client: number, subject: string, body = ''): Call {
    let call: Call | undefined;
    this.send(client, subject, body, (done) => {
      call = done;
    });
    this.world.scheduler.runUntilTrue(() => call !== undefined, { timeoutMs: PATIENCE_MS + 1000 });
    return call!;
  }

  send(client: number, subject: string, body: string, done: (call: Call) => void): void {
    const { scheduler, nodes } = this.world;
    const atMs = scheduler.nowMs;
    this.clients[client].request(subject, body, {}, PATIENCE_MS, (outcome) =>
      done({ node: nodes[client].name, subject, atMs, tookMs: scheduler.nowMs - atMs, outcome }),
    );
  }

  /** Calls of every kind through every node until `stop`, whatever happens meanwhile. */
  traffic(): { stop(): void } {
    this.#busy = true;
    const round = (): void => {
      if (!this.#busy) return;
      const n = this.#count++;
      const calls: [string, string][] = [
        ['A.x', `a${n}`],
        ['B.x', `b${n}`],
        ['C.x', `c${n}`],
        ['$JS.API.STREAM.INFO.B', ''],
        ['$JS.API.STREAM.NAMES', ''],
        ['$JS.API.INFO', ''],
        ['$JS.API.CONSUMER.INFO.A.D', ''],
        ['$JS.API.STREAM.MSG.GET.C', '{"last_by_subj":"C.x"}'],
        ['$JS.API.DIRECT.GET.B.B.x', ''],
        ['$JS.API.STREAM.UPDATE.C', JSON.stringify({ ...stream('C'), description: `${n}` })],
        [`$JS.API.STREAM.CREATE.N${n}`, JSON.stringify(stream(`N${n}`))],
        ['$JS.API.STREAM.PURGE.A', '{"keep":5}'],
        ['$JS.API.CONSUMER.MSG.NEXT.A.D', '{"batch":1,"no_wait":true}'],
      ];
      for (let client = 0; client < 3; client++) {
        const [subject, body] = calls[(n + client * 5) % calls.length];
        this.#open++;
        this.send(client, subject, body, (call) => {
          this.#open--;
          this.calls.push(call);
        });
      }
      this.world.scheduler.after(CALL_EVERY_MS, round);
    };
    round();
    return {
      stop: () => {
        this.#busy = false;
        this.world.scheduler.runUntilTrue(() => this.#open === 0, { timeoutMs: PATIENCE_MS + 1000 });
      },
    };
  }

  /** Cuts the links between each of `from` and each of `to`, one way or both. */
  cut(from: number[], to: number[], both: boolean): void {
    const { network, nodes } = this.world;
    for (const a of from) {
      for (const b of to) {
        network.cut(nodes[a].name, nodes[b].name);
        if (both) network.cut(nodes[b].name, nodes[a].name);
      }
    }
  }

  since(atMs: number): Call[] {
    return this.calls.filter((call) => call.atMs >= atMs);
  }
}

function stream(name: string): object {
  return { name, subjects: [`${name}.>`], num_replicas: 3, allow_direct: true };
}

function slowest(calls: Call[]): string {
  const worst = calls.reduce((a, b) => (b.tookMs > a.tookMs ? b : a));
  return worst.tookMs > SETTLED_MS_MAX
    ? `${worst.node} ${worst.subject} at ${worst.atMs} took ${worst.tookMs} ms`
    : 'in time';
}

/** JetStream's words for "not now": no responders, 503 with 10008, or a pull whose leader is gone. */
function isRefusal({ outcome }: Call): boolean {
  if (outcome.kind === 'no-responders') return true;
  if (outcome.kind !== 'reply') return false;
  return (
    outcome.text.includes('"err_code":10008') ||
    /^NATS\/1.0 (409 Leadership Change|408 Request Timeout)/.test(outcome.hdr)
  );
}

describe('every call settles within 3 s', () => {
  test.each([0, 1, 2])('node %i alone, cut off both ways, and healed', (victim) => {
    const cluster = new Cluster(500 + victim);
    const { world } = cluster;
    const others = [0, 1, 2].filter((node) => node !== victim);
    const traffic = cluster.traffic();
    world.scheduler.runFor(1000);
    const cutMs = world.scheduler.nowMs;
    cluster.cut([victim], others, true);
    world.scheduler.runFor(8000);
    const healedMs = world.scheduler.nowMs;
    world.network.heal();
    world.scheduler.runFor(8000);
    traffic.stop();

    expect(slowest(cluster.calls)).toBe('in time');
    // Links are lost after 2 s of silence; from then on the lone side refuses and the others serve.
    const during = cluster.since(cutMs + 4500).filter((call) => call.atMs < healedMs - SETTLED_MS_MAX);
    const alone = during.filter((call) => call.node === world.nodes[victim].name);
    expect(alone.length).toBeGreaterThan(5);
    expect(alone.filter((call) => !isRefusal(call))).toEqual([]);
    const majority = during.filter((call) => call.node !== world.nodes[victim].name);
    expect(majority.length).toBeGreaterThan(10);
    expect(majority.filter(isRefusal)).toEqual([]);
    expect(cluster.since(healedMs + 5000).filter(isRefusal)).toEqual([]);
    expect(world.violations).toEqual([]);
    expect(world.fatals).toEqual([]);
  });

  test.each([
    ['that is heard but hears nobody', true],
    ['that hears but is not heard', false],
  ])('a node %s', (_, deaf) => {
    for (let victim = 0; victim < 3; victim++) {
      const cluster = new Cluster(600 + victim);
      const { world } = cluster;
      const others = [0, 1, 2].filter((node) => node !== victim);
      const traffic = cluster.traffic();
      world.scheduler.runFor(500);
      if (deaf) cluster.cut(others, [victim], false);
      else cluster.cut([victim], others, false);
      world.scheduler.runFor(6000);
      world.network.heal();
      world.scheduler.runFor(6000);
      traffic.stop();
      expect(slowest(cluster.calls)).toBe('in time');
      expect(world.violations).toEqual([]);
    }
  });

  test('no two nodes hear each other', () => {
    const cluster = new Cluster(700);
    const { world } = cluster;
    const traffic = cluster.traffic();
    world.scheduler.runFor(500);
    cluster.cut([0], [1, 2], true);
    cluster.cut([1], [2], true);
    world.scheduler.runFor(8000);
    const lateMs = world.scheduler.nowMs - SETTLED_MS_MAX;
    traffic.stop();
    expect(slowest(cluster.calls)).toBe('in time');
    expect(cluster.since(lateMs).filter((call) => !isRefusal(call))).toEqual([]);
  });

  test('nodes that die with the work of others', () => {
    for (let victim = 0; victim < 3; victim++) {
      const cluster = new Cluster(800 + victim);
      const { world } = cluster;
      const traffic = cluster.traffic();
      world.scheduler.runFor(500);
      world.nodes[victim].crash('process');
      world.scheduler.runFor(5000);
      world.nodes[victim].start();
      world.scheduler.runFor(5000);
      traffic.stop();
      expect(slowest(cluster.calls)).toBe('in time');
    }
  });
});
