// Meta end to end in the small world: forming, creating, deleting, moving, replacing.
import { describe, expect, test } from 'vitest';
import { isApiError } from '../../../src/stream/errors.ts';
import { MetaWorld, streamConfig } from './meta-world.ts';

describe('one node', () => {
  test('forms alone and serves', () => {
    const world = MetaWorld.formed(1, 1);
    const [node] = world.nodes;
    const record = world.created(node, streamConfig('ORDERS'));
    expect(record.replicas).toEqual([[node.id]]);
    expect(node.meta.partitions.leaderOf(record.streamId * 64)).toBe(node.id);
    expect(node.meta.partitions.local(record.streamId * 64)?.leading).toBe(true);
    expect(world.create(node, streamConfig('THREE', { num_replicas: 3 }))).toMatchObject({ err_code: 10074 });
  });

  test('comes back with what it had', () => {
    const world = MetaWorld.formed(2, 1);
    const [node] = world.nodes;
    const { clusterId } = node.meta;
    world.created(node, streamConfig('A'));
    world.created(node, streamConfig('B'));
    expect(world.delete(node, 'A')).toBe(true);
    node.fake.kill();
    node.start();
    world.until(() => node.meta.ready);
    expect(node.meta.clusterId).toBe(clusterId);
    expect(node.meta.catalog.streams('$G').map((stream) => stream.name)).toEqual(['B']);
    expect(node.probes.size).toBe(1);
  });
});

describe('three nodes', () => {
  test('form one cluster, whoever starts first', () => {
    for (let seed = 0; seed < 10; seed++) {
      const world = new MetaWorld(seed);
      for (const name of ['n1', 'n2', 'n3']) world.add(name, 3);
      for (const node of world.world.prng.shuffle([...world.nodes])) {
        node.start();
        world.run(world.world.prng.int(500));
      }
      world.until(() => world.nodes.every((node) => node.meta.ready));
      expect(new Set(world.nodes.map((node) => node.meta.clusterId)).size).toBe(1);
      for (const node of world.nodes) expect([...node.meta.catalog.nodes.keys()].sort()).toEqual([101, 102, 103]);
    }
  });

  test('do not form while one is missing', () => {
    const world = new MetaWorld(3);
    for (const name of ['n1', 'n2', 'n3']) world.add(name, 3);
    world.nodes[0].start();
    world.nodes[1].start();
    world.run(20_000);
    expect(world.nodes[0].meta.clusterId).toBe('');
    world.nodes[2].start();
    world.until(() => world.nodes.every((node) => node.meta.ready));
  });

  test.each(['meta.formation.saved', 'meta.formation.adopted', 'meta.formation.opened'])(
    'a crash of any node at %s is resumed',
    (point) => {
      for (let victim = 0; victim < 3; victim++) {
        for (const kind of ['process', 'power'] as const) {
          const world = new MetaWorld(victim + 10);
          for (const name of ['n1', 'n2', 'n3']) world.add(name, 3);
          const { fake } = world.nodes[victim];
          fake.crashAt = (name) => (name === point ? kind : undefined);
          for (const node of world.nodes) node.start();
          world.until(() => !fake.alive);
          world.run(3000);
          fake.crashAt = undefined;
          world.nodes[victim].start();
          world.until(() => world.nodes.every((node) => node.meta.ready));
          expect(new Set(world.nodes.map((node) => node.meta.clusterId)).size).toBe(1);
        }
      }
    },
  );

  test('create an R3 stream from every node: all open it, all know its leader, delete closes it', () => {
    const world = MetaWorld.formed(4, 3);
    for (const node of world.nodes) {
      const record = world.created(node, streamConfig(`S${node.id}`, { num_replicas: 3 }));
      const group = record.streamId * 64;
      const leader = node.meta.partitions.leaderOf(group);
      expect(leader).not.toBe(0);
      world.until(() => world.nodes.every((one) => one.meta.partitions.leaderOf(group) === leader));
      world.until(() => world.nodes.every((one) => one.meta.partitions.local(group) !== undefined));
      expect(world.delete(node, record.name)).toBe(true);
      expect(node.meta.catalog.stream('$G', record.name)).toBeUndefined();
      world.until(() => world.nodes.every((one) => one.probes.size === 0));
      for (const one of world.nodes) expect(one.fake.host.deleted).toContain(group);
    }
  });

  test('create is idempotent, refuses other configurations and overlaps, delete of nothing says so', () => {
    const world = MetaWorld.formed(5, 3);
    const [a, b, c] = world.nodes;
    const record = world.created(a, streamConfig('S'));
    expect(world.create(b, streamConfig('S', { metadata: { '_nats.ver': '2.12' } }))).toEqual({
      record,
      created: false,
    });
    expect(world.create(b, streamConfig('S', { max_msgs: 5 }))).toMatchObject({ err_code: 10058 });
    expect(world.create(c, streamConfig('T', { subjects: ['S.one'] }))).toMatchObject({ err_code: 10065 });
    expect(world.create(c, streamConfig('F', { num_replicas: 5 }))).toMatchObject({ err_code: 10005 });
    expect(world.delete(c, 'NONE')).toMatchObject({ err_code: 10059 });
    expect(a.meta.catalog.streamOfSubject('$G', 'S.one.two')).toBe(a.meta.catalog.stream('$G', 'S'));
    expect(a.meta.catalog.streamOfSubject('$G', 'T.one')).toBeUndefined();
  });

  test('same name again is another stream', () => {
    const world = MetaWorld.formed(6, 3);
    const first = world.created(world.nodes[0], streamConfig('S', { num_replicas: 3 }));
    world.delete(world.nodes[1], 'S');
    const second = world.created(world.nodes[2], streamConfig('S', { num_replicas: 3 }));
    expect(second.streamId).toBeGreaterThan(first.streamId);
  });

  test('an update reaches every replica, also one that was away', () => {
    const world = MetaWorld.formed(7, 3);
    const [a, , away] = world.nodes;
    const record = world.created(a, streamConfig('S', { num_replicas: 3 }));
    const group = record.streamId * 64;
    away.fake.kill();
    const config = streamConfig('S', { num_replicas: 3, max_msgs: 9 });
    const updated = world.wait((done) => a.client.updateStream(record, config, done), a);
    expect(updated).toMatchObject({ streamId: record.streamId, config: { max_msgs: 9 } });
    world.until(() => world.alive.every((node) => node.probes.get(group)!.config.max_msgs === 9));
    away.start();
    world.until(() => away.probes.get(group)?.config.max_msgs === 9);
  });

  test('of two updates of the same record, through different nodes, one is told to decide again', () => {
    const world = MetaWorld.formed(71, 3);
    const [a, b] = world.nodes;
    const read = world.created(a, streamConfig('S', { num_replicas: 3 }));
    const results: unknown[] = [];
    const denies = streamConfig('S', { num_replicas: 3, deny_delete: true });
    const limits = streamConfig('S', { num_replicas: 3, max_msgs: 9 });
    a.fake.run(() => a.client.updateStream(read, denies, (result) => results.push(result)));
    b.fake.run(() => b.client.updateStream(read, limits, (result) => results.push(result)));
    world.until(() => results.length === 2);
    expect(results.filter((result) => result === 'changed')).toHaveLength(1);
    const won = results.find((result) => result !== 'changed');
    world.until(() => world.nodes.every((node) => node.meta.catalog.stream('$G', 'S')?.revision !== read.revision));
    for (const node of world.nodes) expect(node.meta.catalog.stream('$G', 'S')).toEqual(won);
  });

  test('without a majority proposals are answered 10008 and nobody waits for ever', () => {
    const world = MetaWorld.formed(8, 3);
    const [a, b, c] = world.nodes;
    b.fake.kill();
    c.fake.kill();
    world.run(100);
    const startMs = world.world.scheduler.nowMs;
    expect(world.create(a, streamConfig('S'))).toMatchObject({ err_code: 10008 });
    expect(world.world.scheduler.nowMs - startMs).toBeLessThan(5200);
  });

  test('streams stay closed after a restart until the metadata is known to be current', () => {
    const world = MetaWorld.formed(9, 3);
    const [a, b, c] = world.nodes;
    const gone = world.created(a, streamConfig('GONE', { num_replicas: 3 }));
    const kept = world.created(a, streamConfig('KEPT', { num_replicas: 3 }));
    world.delete(a, 'GONE');
    world.run(100);
    for (const node of [a, b, c]) node.fake.kill();
    for (const node of [a, b, c]) node.start();
    const opened = new Set<number>();
    world.world.scheduler.afterEach = () => {
      for (const node of world.nodes) for (const group of node.probes.keys()) opened.add(group);
    };
    world.until(() => world.nodes.every((node) => node.meta.ready));
    expect([...opened]).toEqual([kept.streamId * 64]);
    expect(opened.has(gone.streamId * 64)).toBe(false);
  });

  test('replicas and leaders of many streams spread', () => {
    const world = MetaWorld.formed(10, 3);
    const [a] = world.nodes;
    let answers = 0;
    a.fake.run(() => {
      for (let i = 0; i < 300; i++) {
        a.client.createStream('$G', streamConfig(`S${i}`, { num_replicas: 3 }), (result) => {
          if (!isApiError(result)) answers++;
        });
      }
    });
    world.until(() => answers === 300);
    const led = new Map<number, number>();
    for (const record of a.meta.catalog.streams('$G')) {
      const leader = a.meta.partitions.leaderOf(record.streamId * 64);
      led.set(leader, (led.get(leader) ?? 0) + 1);
    }
    expect([...led.values()]).toEqual([100, 100, 100]);
    expect(world.nodes.map((node) => node.probes.size)).toEqual([300, 300, 300]);
  });

  test('leadership goes back to the preferred leader when that has been up for a while', () => {
    const world = MetaWorld.formed(11, 3);
    const [a] = world.nodes;
    const record = world.created(a, streamConfig('S', { num_replicas: 3 }));
    const group = record.streamId * 64;
    const preferred = world.nodes.find((node) => node.id === record.replicas[0][0])!;
    preferred.fake.kill();
    world.until(() => world.alive.every((node) => node.meta.partitions.leaderOf(group) !== preferred.id));
    world.until(() => world.alive.every((node) => node.meta.partitions.leaderOf(group) !== 0));
    preferred.start();
    world.until(() => world.alive.every((node) => node.meta.partitions.leaderOf(group) === preferred.id));
  });
});

describe('joining', () => {
  test('a fourth and fifth node join and become voters, a sixth learns', () => {
    const world = MetaWorld.formed(20, 3);
    for (const name of ['n4', 'n5', 'n6']) {
      const node = world.add(name, 4);
      node.start();
      world.until(() => node.meta.ready);
    }
    const shared = world.world.groups.get(0)!;
    world.until(() => shared.membership.voters.length === 5 && shared.membership.learners.length === 1);
    const record = world.created(world.nodes[5], streamConfig('WIDE', { num_replicas: 5 }));
    expect(record.replicas[0]).toHaveLength(5);
  });

  test('a wiped node comes back as a learner and takes its own place', () => {
    const world = MetaWorld.formed(21, 3);
    const [a, b, wiped] = world.nodes;
    const record = world.created(a, streamConfig('S', { num_replicas: 3 }));
    const lost = world.created(a, streamConfig('ONE1'));
    const also = world.created(a, streamConfig('ONE2'));
    const more = world.created(a, streamConfig('ONE3'));
    const single = [lost, also, more].find((one) => one.replicas[0][0] === wiped.id)!;
    wiped.fake.kill();
    world.nodes.splice(2, 1);
    const fresh = world.add(wiped.fake.info.name, 3, 203);
    fresh.start();
    world.until(() => fresh.meta.ready, 60_000);
    const group = record.streamId * 64;
    const members = (id: number) => world.world.groups.get(id)!.membership;
    world.until(() => !members(0).voters.includes(wiped.id) && members(0).voters.includes(fresh.id));
    world.until(() => !members(group).voters.includes(wiped.id) && members(group).voters.includes(fresh.id));
    world.run(1000);
    for (const node of [a, b, fresh]) {
      expect([...node.meta.catalog.nodes.keys()].sort()).toEqual([101, 102, 203]);
      expect(node.meta.catalog.streamById(record.streamId)!.replicas[0]).toContain(fresh.id);
    }
    // What only the lost disk held is not replaced by an empty log.
    expect(members(single.streamId * 64).voters).toEqual([wiped.id]);
    expect(a.meta.partitions.leaderOf(single.streamId * 64)).toBe(0);
    // And the cluster goes on.
    expect(isApiError(world.create(fresh, streamConfig('NEXT', { num_replicas: 3 })))).toBe(false);
  });

  test('an emptied node with the smallest name does not form a cluster of its own', () => {
    const world = MetaWorld.formed(22, 3);
    const [first, b, c] = world.nodes;
    const { clusterId } = b.meta;
    for (const node of [first, b, c]) node.fake.kill();
    world.nodes.splice(0, 1);
    const fresh = world.add('n1', 3, 201);
    fresh.start();
    world.run(5000);
    expect(fresh.meta.clusterId).toBe('');
    b.start();
    c.start();
    world.until(() => fresh.meta.ready, 60_000);
    expect(fresh.meta.clusterId).toBe(clusterId);
  });

  test('a second node with the name of a living one is not admitted', () => {
    const world = MetaWorld.formed(23, 3);
    const twin = world.add('n2', 3, 202);
    twin.start();
    world.run(20_000);
    expect(twin.meta.ready).toBe(false);
    expect([...world.nodes[0].meta.catalog.nodes.keys()].sort()).toEqual([101, 102, 103]);
  });

  test('a stream grows, and the nodes that leave it drop their copy', () => {
    const world = MetaWorld.formed(24, 3);
    const [a] = world.nodes;
    const record = world.created(a, streamConfig('S'));
    const group = record.streamId * 64;
    const members = () => world.world.groups.get(group)!.membership;
    const resize = (num_replicas: number) =>
      world.wait((done) => {
        a.client.updateStream(a.meta.catalog.stream('$G', 'S')!, streamConfig('S', { num_replicas }), done);
      }, a);
    resize(3);
    world.until(() => members().voters.length === 3);
    world.run(1000);
    expect(world.nodes.filter((node) => node.probes.has(group))).toHaveLength(3);
    resize(1);
    world.until(() => world.nodes.filter((node) => node.probes.has(group)).length === 1);
    expect(members()).toEqual({ voters: record.replicas[0], learners: [] });
    resize(3);
    world.until(() => members().voters.length === 3);
    world.until(() => world.nodes.every((node) => node.probes.has(group)));
  });

  test('members of a partition are changed only behind a barrier of the metadata', () => {
    const world = MetaWorld.formed(28, 3);
    const [a] = world.nodes;
    const record = world.created(a, streamConfig('S'));
    const members = () => world.world.groups.get(record.streamId * 64)!.membership;
    for (const { id } of world.nodes) world.world.withoutBarriers.add(id);
    a.fake.run(() => a.client.updateStream(record, streamConfig('S', { num_replicas: 3 }), () => undefined));
    world.run(5000);
    for (const node of world.nodes) expect(node.meta.catalog.stream('$G', 'S')!.replicas[0]).toHaveLength(3);
    expect(members()).toEqual({ voters: record.replicas[0], learners: [] });
    world.world.withoutBarriers.clear();
    world.until(() => members().voters.length === 3);
  });

  test('nodes that gave up their copy still know who leads', () => {
    const world = MetaWorld.formed(27, 3);
    const [a] = world.nodes;
    for (const partitions of ['1', '4']) {
      const name = `S${partitions}`;
      const config = (num_replicas: number) =>
        streamConfig(name, { num_replicas, metadata: { 'flotilla.partitions': partitions } });
      const { streamId, partitions: count } = world.created(a, config(3));
      const updated = world.wait<unknown>((done) => {
        a.client.updateStream(a.meta.catalog.stream('$G', name)!, config(1), done);
      }, a);
      expect(updated).toMatchObject({ config: { num_replicas: 1 } });
      const groups = Array.from({ length: count }, (_, p) => streamId * 64 + p);
      world.until(() => groups.every((group) => world.nodes.filter((node) => node.probes.has(group)).length === 1));
      for (const group of groups) {
        const holder = world.nodes.find((node) => node.probes.has(group))!;
        world.until(() => holder.meta.partitions.leaderOf(group) === holder.id);
        world.run(1000);
        for (const node of world.nodes) expect(node.meta.partitions.leaderOf(group)).toBe(holder.id);
      }
    }
    world.delete(a, 'S4');
    world.run(1000);
  });

  test('a node that is gone for good is removed: others take its replicas, and it may come back', () => {
    const world = MetaWorld.formed(25, 4);
    const [a] = world.nodes;
    const records = [1, 2, 3, 4].map((i) => world.created(a, streamConfig(`S${i}`, { num_replicas: 3 })));
    const gone = world.nodes[3];
    const remove = () => world.wait((done) => a.client.removeNode!(gone.id, done), a);
    expect(remove()).toMatchObject({ err_code: 10003 });
    gone.fake.kill();
    world.run(100);
    expect(remove()).toBe(true);
    const groups = [0, ...records.map((record) => record.streamId * 64)];
    const isMember = (group: number) => {
      const { voters, learners } = world.world.groups.get(group)!.membership;
      return voters.includes(gone.id) || learners.includes(gone.id);
    };
    world.until(() => !groups.some(isMember));
    world.run(1000);
    for (const record of a.meta.catalog.streams('$G')) {
      expect([...record.replicas[0]].sort()).toEqual([101, 102, 103]);
      expect(world.world.groups.get(record.streamId * 64)!.membership.voters).toHaveLength(3);
    }
    gone.start();
    world.until(() => gone.meta.ready && a.meta.catalog.nodes.has(gone.id));
    world.until(() => gone.probes.size === 0);
    world.until(() => isMember(0));
  });

  test('a preferred leader is given and kept; the meta leader hands over to whom it is told', () => {
    const world = MetaWorld.formed(28, 3);
    const [a] = world.nodes;
    const record = world.created(a, streamConfig('S', { num_replicas: 3 }));
    const group = record.streamId * 64;
    for (const node of world.nodes) {
      expect(world.wait((done) => a.client.prefer(record.streamId, 0, node.id, done), a)).toBe(true);
      expect(a.meta.catalog.stream('$G', 'S')?.replicas[0][0]).toBe(node.id);
      expect([...a.meta.catalog.stream('$G', 'S')!.replicas[0]].sort()).toEqual([101, 102, 103]);
      world.until(() => a.meta.partitions.leaderOf(group) === node.id);
      world.run(5000);
      expect(a.meta.partitions.leaderOf(group)).toBe(node.id);
    }
    expect(world.wait((done) => a.client.prefer(record.streamId, 0, 999, done), a)).toMatchObject({ err_code: 10040 });
    expect(world.wait((done) => a.client.prefer(9999, 0, a.id, done), a)).toMatchObject({ err_code: 10059 });
    for (const node of world.nodes) {
      if (node === world.metaLeader) continue;
      expect(world.wait((done) => node.client.stepDown(node.id, done), node)).toBe(true);
      world.until(() => world.nodes.every((one) => one.meta.catalog.metaLeader === node.id));
    }
    expect(world.wait((done) => a.client.stepDown(999, done), a)).toBe('nobody');
    const before = world.metaLeader;
    expect(world.wait((done) => a.client.stepDown(0, done), a)).toBe(true);
    world.until(() => a.meta.catalog.metaLeader !== 0 && world.metaLeader !== before);
  });

  test('a peer is evicted from a stream when another node can take its place', () => {
    const world = MetaWorld.formed(29, 3);
    const [a, b] = world.nodes;
    const record = world.created(a, streamConfig('S', { num_replicas: 3 }));
    const group = record.streamId * 64;
    const evict = (peer: number) => world.wait((done) => a.client.evict(record.streamId, peer, done), a);
    expect(evict(b.id)).toMatchObject({ err_code: 10075 });
    expect(evict(999)).toMatchObject({ err_code: 10040 });
    expect(a.meta.catalog.stream('$G', 'S')).toEqual(record);
    const fourth = world.add('n4', 4);
    fourth.start();
    world.until(() => fourth.meta.ready);
    expect(evict(b.id)).toBe(true);
    world.until(() => [...world.world.groups.get(group)!.membership.voters].sort().join() === '101,103,104');
    world.until(() => !b.probes.has(group) && fourth.probes.has(group));
    expect(b.fake.host.deleted).toContain(group);
  });

  test('a copy that left its partition while the node was away is dropped when it is back', () => {
    const world = MetaWorld.formed(26, 4);
    const [a] = world.nodes;
    const record = world.created(a, streamConfig('S', { num_replicas: 3 }));
    const group = record.streamId * 64;
    const away = world.nodes.find((node) => node !== a && record.replicas[0].includes(node.id))!;
    away.fake.kill();
    world.run(100);
    const client = world.alive[0].client;
    expect(world.wait((done) => client.removeNode!(away.id, done), world.alive[0])).toBe(true);
    world.until(() => !world.world.groups.get(group)!.membership.voters.includes(away.id));
    world.run(1000);
    expect(away.fake.logs.has(group)).toBe(true);
    away.start();
    world.until(() => away.meta.ready && !away.fake.logs.has(group));
    expect(away.probes.size).toBe(0);
  });

  test('a copy that left its partition while the node caught up is dropped when it has', () => {
    const world = MetaWorld.formed(30, 4);
    const [a] = world.nodes;
    const record = world.created(a, streamConfig('S', { num_replicas: 3 }));
    const group = record.streamId * 64;
    const late = world.nodes.find((node) => node !== a && record.replicas[0].includes(node.id))!;
    late.fake.kill();
    world.world.withoutBarriers.add(late.id);
    late.start();
    world.until(() => late.probes.has(group));
    expect(world.wait((done) => a.client.evict(record.streamId, late.id, done), a)).toBe(true);
    world.until(() => !late.meta.catalog.streamById(record.streamId)!.replicas[0].includes(late.id));
    world.until(() => !world.world.groups.get(group)!.membership.voters.includes(late.id));
    world.run(1000);
    expect(late.probes.has(group)).toBe(true);
    world.world.withoutBarriers.clear();
    world.until(() => !late.probes.has(group));
  });
});
