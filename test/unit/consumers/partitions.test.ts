// Consumers over several partitions on whole simulated nodes: parts that could not be made or removed, partitions that are away, what
// an idle partition costs. What the official clients see is in the conformance suite, what faults do to it in the simulator's load.
import { describe, expect, test } from 'vitest';
import { apiError } from '../../../src/stream/errors.ts';
import { HomeEngine } from '../../../src/stream/home-engine.ts';
import { HomeSource } from '../../../src/stream/home-source.ts';
import { Partition } from '../../../src/stream/partition.ts';
import { SimClient } from '../../sim/sim-client.ts';
import { World } from '../../sim/world.ts';

const SECOND = 1e9;

interface Delivered {
  subject: string;
  content: string;
  streamSeq: number;
  consumerSeq: number;
  reply: string;
}

/** biome-ignore lint/suspicious/noExplicitAny: answers are looked at by path. */
type Answer = Record<string, any>;

class Cluster {
  readonly world: World;
  readonly client: SimClient;
  readonly got: Delivered[] = [];
  readonly statuses: string[] = [];

  constructor(seed: number, node = 0) {
    this.world = new World(seed, 3);
    for (const one of this.world.nodes) one.start();
    const isReady = (): boolean => this.world.nodes.every((one) => one.node?.meta.ready === true);
    this.world.scheduler.runUntilTrue(isReady, { timeoutMs: 60_000 });
    this.client = new SimClient('c', this.world.scheduler, this.world.nodes[node]);
    this.client.onMessage = (subject, reply, hdr, content) => {
      const tokens = reply.split('.');
      if (tokens[1] !== 'ACK') this.statuses.push(hdr.split('\r\n')[0]);
      else this.got.push({ subject, content, streamSeq: Number(tokens[5]), consumerSeq: Number(tokens[6]), reply });
    };
  }

  call(subject: string, body: unknown = ''): Answer {
    let answer: Answer | undefined;
    const payload = typeof body === 'string' ? body : JSON.stringify(body);
    this.client.request(subject, payload, {}, 8000, (outcome) => {
      answer = outcome.kind === 'reply' && outcome.text !== '' ? JSON.parse(outcome.text) : outcome;
    });
    this.world.scheduler.runUntilTrue(() => answer !== undefined, { timeoutMs: 10_000 });
    return answer!;
  }

  stream(config: object = {}): void {
    const answer = this.call('$JS.API.STREAM.CREATE.S', {
      name: 'S',
      subjects: ['s.>'],
      num_replicas: 3,
      metadata: { 'flotilla.partitions': '4' },
      ...config,
    });
    expect(answer.error).toBeUndefined();
  }

  fill(count: number, from = 0): void {
    for (let i = from; i < from + count; i++) expect(this.call(`s.${i % 13}`, `${i}`).error).toBeUndefined();
  }

  consumer(name: string, config: object = {}): Answer {
    const full = { name, durable_name: name, ack_policy: 'explicit', ...config };
    return this.call(`$JS.API.CONSUMER.CREATE.S.${name}`, { stream_name: 'S', config: full });
  }

  pull(name: string, body: object, ms: number): Delivered[] {
    this.got.length = 0;
    this.statuses.length = 0;
    this.client.publish(`$JS.API.CONSUMER.MSG.NEXT.S.${name}`, JSON.stringify(body), {}, this.client.inbox());
    this.world.scheduler.runFor(ms);
    return [...this.got];
  }

  /** Every replica of a partition. */
  replicas(partition: number): Partition[] {
    return this.world.nodes.flatMap(({ node }) =>
      [...(node?.partitions.values() ?? [])].filter((one) => one.partition === partition),
    );
  }

  leaderOf(partition: number): Partition {
    return this.replicas(partition).find((one) => one.leading)!;
  }
}

const ORDERED = {
  durable_name: undefined,
  ack_policy: 'none',
  mem_storage: true,
  num_replicas: 1,
  inactive_threshold: 300 * SECOND,
};

describe('a home hands out on proof (docs/adr/0007)', () => {
  /** The original is back at the end, and with it what waited. */
  function held<T extends object, K extends keyof T>(of: T, key: K, value: T[K], body: () => void): void {
    const original = of[key];
    of[key] = value;
    try {
      body();
    } finally {
      of[key] = original;
    }
  }

  test.each(['explicit', 'all'])('of the part that it is still led by the same: ack %s', (ack_policy) => {
    const cluster = new Cluster(31);
    cluster.stream();
    cluster.fill(13);
    cluster.consumer('C', { ack_policy });
    held(
      HomeSource.prototype,
      'mayHandOut',
      () => false,
      () => {
        expect(cluster.pull('C', { batch: 13, expires: 20 * SECOND }, 3000)).toEqual([]);
      },
    );
    expect(cluster.pull('C', { batch: 13, expires: 20 * SECOND }, 3000)).toHaveLength(13);
  });

  test('of its own leadership; parts give it nothing without theirs', () => {
    const cluster = new Cluster(32);
    cluster.stream();
    cluster.fill(13);
    cluster.consumer('C');
    held(
      Partition.prototype,
      'provenUntilMs',
      () => Number.NEGATIVE_INFINITY,
      () => {
        expect(cluster.pull('C', { batch: 13, expires: 20 * SECOND }, 3000)).toEqual([]);
      },
    );
    expect(cluster.pull('C', { batch: 13, expires: 20 * SECOND }, 3000)).toHaveLength(13);
    // Only the home's fails now: what the parts have given waits there.
    cluster.got.length = 0;
    held(
      HomeEngine.prototype,
      'mayHandOut',
      () => false,
      () => {
        cluster.fill(13, 13);
        expect(cluster.got).toEqual([]);
      },
    );
    expect(cluster.pull('C', { batch: 13, expires: 20 * SECOND }, 3000)).toHaveLength(13);
  });

  test('a message after a long silence comes as soon as both were asked', () => {
    const cluster = new Cluster(33);
    cluster.stream();
    cluster.consumer('C');
    expect(cluster.pull('C', { batch: 20, expires: 100 * SECOND }, 60_000)).toEqual([]);
    cluster.client.publish('s.1', 'late');
    const publishedMs = cluster.world.scheduler.nowMs;
    cluster.world.scheduler.runUntilTrue(() => cluster.got.length === 1, { timeoutMs: 1000 });
    expect(cluster.world.scheduler.nowMs - publishedMs).toBeLessThan(100);
  });
});

describe('all or nothing', () => {
  test('a part that could not be made is made later; until then nobody was told that the consumer is there', () => {
    const cluster = new Cluster(11);
    cluster.stream();
    cluster.fill(26);
    const restore = cluster.replicas(2).map(({ parts }) => {
      const { createPart } = parts!;
      parts!.createPart = (_plan, done) => done(apiError(10008));
      return () => void (parts!.createPart = createPart);
    });
    const start = { deliver_policy: 'by_start_sequence', opt_start_seq: 9 };
    expect(cluster.consumer('C', start).error).toMatchObject({ err_code: 10008 });
    expect(cluster.leaderOf(2).machine.consumers.count).toBe(0);
    for (const back of restore) back();
    cluster.world.scheduler.runFor(3000);
    expect(cluster.leaderOf(2).machine.consumers.count).toBe(1);
    const info = cluster.call('$JS.API.CONSUMER.INFO.S.C');
    const delivered = cluster.pull('C', { batch: 100, no_wait: true }, 2000);
    expect(delivered).toHaveLength(info.num_pending);
    expect(Math.min(...delivered.map(({ streamSeq }) => streamSeq))).toBeGreaterThanOrEqual(9);
    const all = cluster.call('$JS.API.STREAM.INFO.S', { deleted_details: true }).state;
    const below = [4, 5, 6, 7, 8].filter((seq) => seq >= all.first_seq && !(all.deleted ?? []).includes(seq));
    expect(delivered.length).toBeGreaterThanOrEqual(26 - below.length);
  });

  test('a part that could not be removed goes later; a namesake does not inherit it', () => {
    const cluster = new Cluster(12);
    cluster.stream({ retention: 'interest' });
    cluster.consumer('C');
    cluster.fill(13);
    const restore = cluster.replicas(3).map(({ parts }) => {
      const { removePart } = parts!;
      parts!.removePart = (_name, _id, done) => done(apiError(10008));
      return () => void (parts!.removePart = removePart);
    });
    expect(cluster.call('$JS.API.CONSUMER.DELETE.S.C')).toMatchObject({ success: true });
    expect(cluster.call('$JS.API.CONSUMER.INFO.S.C').error).toMatchObject({ err_code: 10014 });
    expect(cluster.leaderOf(3).machine.consumers.count).toBe(1);
    for (const back of restore) back();
    cluster.world.scheduler.runFor(3000);
    for (let partition = 0; partition < 4; partition++) {
      expect(cluster.leaderOf(partition).machine.consumers.count).toBe(0);
    }
    expect(cluster.call('$JS.API.STREAM.INFO.S').state.messages).toBe(0);
    cluster.consumer('C');
    cluster.fill(13);
    expect(cluster.pull('C', { batch: 50, no_wait: true }, 2000)).toHaveLength(13);
  });

  test('a new leader of the home removes what the one before could not', () => {
    const cluster = new Cluster(13);
    cluster.stream();
    cluster.consumer('C');
    cluster.consumer('D');
    for (const { parts } of cluster.replicas(1)) parts!.removePart = () => {};
    cluster.client.publish('$JS.API.CONSUMER.DELETE.S.C', '', {}, cluster.client.inbox());
    cluster.world.scheduler.runFor(200);
    const home = cluster.leaderOf(0);
    cluster.world.nodes.find(({ node }) => [...(node?.partitions.values() ?? [])].includes(home))!.crash('process');
    cluster.world.scheduler.runFor(5000);
    const names = [...(cluster.leaderOf(1).localConsumers() ?? [])].map(({ name }) => name);
    expect(names).toEqual(['D']);
  });
});

describe('partitions that are away', () => {
  /** A stream whose partitions have one replica each, and the node of one that is not the home's and not the client's. */
  function spread(seed: number): { cluster: Cluster; away: number; node: Cluster['world']['nodes'][number] } {
    for (let client = 0; client < 3; client++) {
      const cluster = new Cluster(seed, client);
      cluster.stream({ num_replicas: 1 });
      for (let away = 1; away < 4; away++) {
        const holds = (partition: number) =>
          cluster.world.nodes.find(({ node }) =>
            [...(node?.partitions.values() ?? [])].some((one) => one.partition === partition),
          )!;
        const node = holds(away);
        if (node !== holds(0) && node !== cluster.world.nodes[client]) return { cluster, away, node };
      }
    }
    throw new Error('every partition is where the home or the client is');
  }

  test('hold up nobody who acknowledges; a reader in order waits for them', () => {
    const { cluster, away, node } = spread(21);
    cluster.fill(39);
    cluster.consumer('C');
    expect(cluster.consumer('O', ORDERED).error).toBeUndefined();
    node.crash('process');
    cluster.world.scheduler.runFor(4000);
    const some = cluster.pull('C', { batch: 100, expires: SECOND }, 1500);
    expect(some.length).toBeGreaterThan(0);
    expect(some.every(({ streamSeq }) => streamSeq % 4 !== away)).toBe(true);
    const early = cluster.pull('O', { batch: 100, expires: SECOND }, 1500);
    node.start();
    cluster.world.scheduler.runFor(6000);
    const rest = cluster.pull('C', { batch: 100, expires: SECOND }, 1500);
    expect(some.length + rest.length).toBe(39);
    const late = cluster.pull('O', { batch: 100, expires: SECOND }, 1500);
    const seqs = [...early, ...late].map(({ streamSeq }) => streamSeq);
    expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
    expect(new Set(seqs).size).toBe(39);
    expect([...early, ...late].map(({ consumerSeq }) => consumerSeq)).toEqual(seqs.map((_, i) => i + 1));
  });
});

describe('what it costs', () => {
  test('an advance only where a reader in order waits; idle partitions and idle consumers write nothing', () => {
    const cluster = new Cluster(31);
    cluster.stream();
    const logs = (): number[] =>
      [0, 1, 2, 3].map((partition) => {
        const leader = cluster.leaderOf(partition);
        const { node } = cluster.world.nodes.find(({ node }) =>
          [...(node?.partitions.values() ?? [])].includes(leader),
        )!;
        const group = [...node!.partitions].find(([, one]) => one === leader)![0];
        return node!.host.group(group)!.applied;
      });
    cluster.consumer('C');
    cluster.pull('C', { batch: 1, no_wait: true }, 1000);
    const before = logs();
    for (let i = 0; i < 50; i++) cluster.call('s.only', `${i}`);
    expect(cluster.pull('C', { batch: 50, expires: SECOND }, 1500)).toHaveLength(50);
    cluster.world.scheduler.runFor(1000);
    const busy = logs().filter((index, partition) => index > before[partition]);
    expect(busy.length).toBeLessThanOrEqual(2);
    // The reader begins behind all of it, and meets one message: the other partitions are lifted once.
    expect(cluster.consumer('O', { ...ORDERED, deliver_policy: 'new' }).error).toBeUndefined();
    const lifted = logs();
    cluster.call('s.only', 'last');
    expect(cluster.pull('O', { batch: 5, expires: SECOND }, 1500).map(({ content }) => content)).toEqual(['last']);
    expect(logs().map((index, partition) => index - lifted[partition])).toEqual([1, 1, 1, 1]);
  });

  test('messages travel in few frames, however many partitions', () => {
    const cluster = new Cluster(32);
    cluster.stream();
    cluster.consumer('C');
    for (let i = 0; i < 1000; i++) cluster.client.publish(`s.${i % 97}`, `${i}`);
    cluster.world.scheduler.runFor(3000);
    const { counts } = cluster.world.network;
    const idle = counts.delivered;
    cluster.world.scheduler.runFor(1000);
    const background = counts.delivered - idle;
    const before = counts.delivered;
    expect(cluster.pull('C', { batch: 1000, expires: SECOND / 2 }, 1000)).toHaveLength(1000);
    expect(counts.delivered - before - background).toBeLessThan(250);
  });
});
