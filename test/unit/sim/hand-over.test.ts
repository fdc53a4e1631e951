// Leadership that is handed over (a clean stop, a preferred leader that is back) in a cluster of whole nodes: no publish fails, none is stored
// twice, and what a client published in order is stored in order, through whichever node it speaks.
import { describe, expect, test } from 'vitest';
import type { GroupRunner } from '../../../cluster/host/group-runner.ts';
import { SimClient } from '../../sim/sim-client.ts';
import { type SimNode, World } from '../../sim/world.ts';

const STREAM = { name: 'S', subjects: ['s.>'], num_replicas: 3 };
/** A slice of the host's. */
const APPLY_BUDGET_MS = 8;
/** Without waiting for answers, so that some are on their way whatever happens. */
const EVERY_MS = 3;

class Publisher {
  /** In the order of the publishes. */
  readonly answers: string[] = [];
  waitedMsMax = 0;
  readonly #client: SimClient;
  readonly #name: string;
  #sent = 0;

  constructor(world: World, node: SimNode) {
    this.#name = node.name;
    this.#client = new SimClient(node.name, world.scheduler, node);
    const publish = (): void => {
      const sinceMs = world.scheduler.nowMs;
      const at = this.#sent++;
      this.ask(`s.${this.#name}`, String(at), (answer) => {
        this.answers[at] = answer;
        this.waitedMsMax = Math.max(this.waitedMsMax, world.scheduler.nowMs - sinceMs);
      });
      world.scheduler.after(EVERY_MS, publish);
    };
    this.start = publish;
  }

  readonly start: () => void;

  ask(subject: string, body: string, done: (answer: string) => void): void {
    this.#client.request(subject, body, {}, 5_000, (outcome) =>
      done(outcome.kind === 'reply' ? outcome.text : outcome.kind),
    );
  }
}

interface Stage {
  world: World;
  publishers: Publisher[];
  leader(): SimNode;
}

/** `whileCreated` runs as soon as the stream has been asked for. */
function begin(seed: number, whileCreated: (world: World) => void = () => undefined): Stage {
  const world = new World(seed, 3);
  for (const node of world.nodes) node.start();
  const publishers = world.nodes.map((node) => new Publisher(world, node));
  world.scheduler.runFor(3_000);
  let created = '';
  publishers[0].ask('$JS.API.STREAM.CREATE.S', JSON.stringify(STREAM), (answer) => (created = answer));
  whileCreated(world);
  world.scheduler.runFor(2_000);
  expect(created).toContain('stream_create_response');
  expect(created).not.toContain('error');
  for (const publisher of publishers) publisher.start();
  world.scheduler.runFor(500);
  const leader = (): SimNode => {
    const found = world.nodes.find(({ node }) => [...(node?.partitions.values() ?? [])].some(({ leading }) => leading));
    return found!;
  };
  return { world, publishers, leader };
}

/** Everything was stored once, in the order of each client. */
function verify({ world, publishers }: Stage): void {
  world.scheduler.runFor(1_000);
  expect(
    publishers.flatMap(({ answers }) => answers).filter((answer) => !/^\{"stream":"S","seq":\d+\}$/.test(answer)),
  ).toEqual([]);
  for (const { answers } of publishers) {
    const seqs = answers.map((answer) => Number(/"seq":(\d+)/.exec(answer)?.[1]));
    expect(seqs.length).toBeGreaterThan(300);
    expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
  }
  expect(world.violations).toEqual([]);
}

function handOver(from: SimNode, heir: SimNode): void {
  const [group] = from.node!.partitions.keys();
  from.enter(({ host }) => host.group(group)!.transferLeadership(heir.node!.host.self));
}

/** To a member that does not take it. */
function handOverInVain(world: World, from: SimNode): SimNode {
  const heir = world.nodes.find((node) => node !== from)!;
  const [group] = from.node!.partitions.keys();
  heir.enter(({ host }) => (host.group(group) as GroupRunner).raft.setMayVote(false));
  handOver(from, heir);
  return heir;
}

const runnersOf = ({ node }: SimNode): GroupRunner[] =>
  [...(node?.partitions.keys() ?? [])].flatMap((group) => (node?.host.group(group) as GroupRunner | undefined) ?? []);

/** It is elected, and its no-op is not applied. */
const leadsSoon = (node: SimNode): boolean =>
  runnersOf(node).some(({ raft, leading }) => raft.role === 'leader' && !leading);

describe('while leadership is handed over', () => {
  test.each([1, 2, 3])('every publish is acknowledged, once and in order (seed %i)', (seed) => {
    const stage = begin(seed);
    for (let i = 0; i < 6; i++) {
      const from = stage.leader();
      from.enter((node) => node.drain(() => undefined));
      stage.world.scheduler.runFor(200);
      expect(stage.leader()).not.toBe(from);
    }
    verify(stage);
    for (const { waitedMsMax } of stage.publishers) expect(waitedMsMax).toBeLessThan(100);
  });

  test('also when the heir does not take it: this node leads on', () => {
    const stage = begin(4);
    const from = stage.leader();
    handOverInVain(stage.world, from);
    verify(stage);
    expect(stage.leader()).toBe(from);
    for (const { waitedMsMax } of stage.publishers) {
      expect(waitedMsMax).toBeGreaterThan(500);
      expect(waitedMsMax).toBeLessThan(1_000);
    }
  });

  test('also when it has just been won, and the heir does not take it', () => {
    let from: SimNode | undefined;
    const stage = begin(6, (world) => {
      const { nodes, scheduler } = world;
      expect(scheduler.runUntilTrue(() => nodes.some(leadsSoon), { timeoutMs: 1_000 })).toBe(true);
      from = nodes.find(leadsSoon)!;
      handOverInVain(world, from);
    });
    expect(stage.leader()).toBe(from);
    verify(stage);
  });

  test('also what is committed and waits to be applied', () => {
    const stage = begin(7);
    const { scheduler, nodes } = stage.world;
    const from = stage.leader();
    const [runner] = runnersOf(from);
    const apply = runner.apply.bind(runner);
    // There is so much to do that its turn does not come.
    runner.apply = (untilMs) => untilMs > scheduler.nowMs + APPLY_BUDGET_MS && apply(untilMs);
    scheduler.runFor(20);
    expect(runner.backlog).toBeGreaterThan(2);
    const heir = nodes.find((node) => node !== from)!;
    from.enter(() => runner.transferLeadership(heir.node!.host.self));
    scheduler.runFor(50);
    runner.apply = apply;
    expect(stage.leader()).toBe(heir);
    verify(stage);
  });

  test('also when the heir goes: nobody waits for it', () => {
    const stage = begin(5);
    const from = stage.leader();
    const heir = handOverInVain(stage.world, from);
    stage.world.scheduler.runFor(20);
    heir.crash('process');
    stage.world.scheduler.runFor(1_000);
    expect(stage.leader()).toBe(from);
    expect(stage.publishers[stage.world.nodes.indexOf(from)].waitedMsMax).toBeLessThan(200);
  });
});

test.each([1, 2, 3])(
  'what reaches a leader in a later term is not stored behind what another one has stored (seed %i)',
  (seed) => {
    const { world, publishers, leader } = begin(seed);
    const { network, nodes, scheduler } = world;
    const first = leader();
    const [other, next] = nodes.filter((node) => node !== first);
    network.cut(other.name, first.name);
    network.cut(first.name, other.name);
    scheduler.runFor(50);
    handOver(first, next);
    // Its publishes are waited for no longer.
    scheduler.runFor(400);
    expect(leader()).toBe(next);
    handOver(next, first);
    scheduler.runFor(100);
    expect(leader()).toBe(first);
    network.heal();
    scheduler.runFor(3_000);
    expect(leader()).toBe(first);
    const { answers } = publishers[nodes.indexOf(other)];
    expect(answers.filter((answer) => answer.includes('"err_code":10008')).length).toBeGreaterThan(5);
    const seqs = answers.flatMap((answer) => /^\{"stream":"S","seq":(\d+)\}$/.exec(answer)?.slice(1).map(Number) ?? []);
    expect(seqs.length).toBeGreaterThan(300);
    expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
    expect(world.violations).toEqual([]);
  },
);
