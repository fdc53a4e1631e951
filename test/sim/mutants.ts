// Planted bugs: the product with one rule left out, the way real systems have left it out. The scenario must find each within `seeds` seeds;
// if it does not, its silence about the real code means nothing. `npm run sim -- --mutants` plants all, the tests a few.
import { defaultLimits } from '../../cluster/core/limits.ts';
import { Raft } from '../../cluster/core/raft.ts';
import type { HardState, Index, PeerId, Ready } from '../../cluster/core/types.ts';
import { Doubt } from '../../cluster/host/doubt.ts';
import { GroupRunner } from '../../cluster/host/group-runner.ts';
import { HeldNews } from '../../cluster/host/held-news.ts';
import { SnapshotReceiver } from '../../cluster/host/snapshot-receiver.ts';
import { FrameBuilder } from '../../src/jetstream/publish-codec.ts';
import { Drive } from '../../src/meta/drive.ts';
import { MetaMachine, type MetaStream } from '../../src/meta/meta-machine.ts';
import { ConsumerCommand } from '../../src/stream/consumer-codec.ts';
import type { ConsumerRegistry } from '../../src/stream/consumers.ts';
import { PartitionLeader } from '../../src/stream/leader.ts';
import { Partition } from '../../src/stream/partition.ts';
import { PubAckQueue } from '../../src/stream/pub-ack-queue.ts';
import { RecentIds } from '../../src/stream/recent-ids.ts';
import type { AckSink } from '../../src/stream/types.ts';
import { majorityIndex } from './core-sim-mutants.ts';
import { EMPTIED_TWICE } from './faults.ts';
import { MOVES, runScenario, type ScenarioOptions } from './scenario.ts';
import { SimClient } from './sim-client.ts';
import type { World } from './world.ts';

export interface Mutant {
  name: string;
  /** Changes the product; returns how to change it back. */
  plant(): () => void;
  options: Omit<ScenarioOptions, 'seed'>;
  /** Found in one of so many, from 1. */
  seeds: number;
  /** What it must be found by; anything will do by default. */
  found?: RegExp;
}

/** Replaces a method; `make` gets the original. */
function replace<T extends object, K extends keyof T>(of: T, key: K, make: (original: T[K]) => T[K]): () => void {
  const original = of[key];
  of[key] = make(original);
  return () => {
    of[key] = original;
  };
}

/** Check-quorum fails: a leader that nobody answers does not step down. */
function goOnLeading(): () => void {
  return replace(
    Raft.prototype,
    'tick',
    (tick) =>
      function (this: Raft, nowMs) {
        for (const member of this.state.lead?.progress ?? []) member.lastActiveMs = nowMs;
        tick.call(this, nowMs);
      },
  );
}

function both(one: () => void, other: () => void): () => void {
  return () => {
    one();
    other();
  };
}

function ready(change: (raft: Raft, ready: Ready) => Ready): () => () => void {
  return () =>
    replace(
      Raft.prototype,
      'takeReady',
      (takeReady) =>
        function (this: Raft): Ready {
          return change(this, takeReady.call(this));
        },
    );
}

/** Before an acknowledgement is held, or not. */
function heldAck(change: (runner: GroupRunner, from: PeerId, index: Index, round: number) => void): () => () => void {
  return () =>
    replace(
      HeldNews.prototype,
      'holdsAck',
      (holdsAck) =>
        function (this: HeldNews, runner, from, term, index, round): boolean {
          change(runner, from, index, round);
          return holdsAck.call(this, runner, from, term, index, round);
        },
    );
}

/** A leader that hands over gives back what it has not answered yet. */
function giveBackUnderWay(): () => void {
  const groups = new WeakMap<PartitionLeader, number>();
  const underWay = new WeakMap<PartitionLeader, Set<() => void>>();
  const attach = replace(
    PartitionLeader.prototype,
    'attach',
    (original) =>
      function (this: PartitionLeader, group) {
        groups.set(this, group.id);
        underWay.set(this, new Set());
        original.call(this, group);
      },
  );
  const publish = replace(
    PartitionLeader.prototype,
    'publish',
    (original) =>
      function (this: PartitionLeader, subject, hdr, payload, sink, token, term) {
        const all = underWay.get(this)!;
        const [headers, body] = [hdr.slice(), payload.slice()];
        const giveBack = (): void => sink.returned(token, groups.get(this)!, term, subject, headers, body);
        all.add(giveBack);
        const settled = (answer: () => void): void => {
          all.delete(giveBack);
          answer();
        };
        const watched: AckSink = {
          stored: (...is) => settled(() => sink.stored(...is)),
          refused: (...is) => settled(() => sink.refused(...is)),
          returned: (...is) => settled(() => sink.returned(...is)),
        };
        original.call(this, subject, hdr, payload, watched, token, term);
      },
  );
  const pause = replace(
    PartitionLeader.prototype,
    'pause',
    (original) =>
      function (this: PartitionLeader, paused) {
        original.call(this, paused);
        if (paused) for (const giveBack of underWay.get(this)!) giveBack();
      },
  );
  return both(attach, both(publish, pause));
}

/** A leader takes what was sent to the leader of another term. */
function takeOfAnyTerm(): () => void {
  const terms = new WeakMap<PartitionLeader, number>();
  const begin = replace(
    PartitionLeader.prototype,
    'begin',
    (original) =>
      function (this: PartitionLeader, term, firstSeq, paused) {
        terms.set(this, term);
        original.call(this, term, firstSeq, paused);
      },
  );
  const publish = replace(
    PartitionLeader.prototype,
    'publish',
    (original) =>
      function (this: PartitionLeader, subject, hdr, payload, sink, token, term) {
        original.call(this, subject, hdr, payload, sink, token, this.leading ? terms.get(this)! : term);
      },
  );
  return both(begin, publish);
}

/** In a frame of several publishes every second one leaves after the one behind it. */
function swapForwards(): () => void {
  const kept = new Map<FrameBuilder, () => void>();
  const release = (builder: FrameBuilder): void => {
    kept.get(builder)?.();
    kept.delete(builder);
  };
  const add = replace(
    FrameBuilder.prototype,
    'addForward',
    (original) =>
      function (this: FrameBuilder, group, term, token, { subject, hdr, payload }) {
        const message = { subject, hdr: hdr.slice(), payload: payload.slice() };
        if (this.length > 0 && !kept.has(this)) {
          kept.set(this, () => original.call(this, group, term, token, message));
          return;
        }
        original.call(this, group, term, token, message);
        release(this);
      },
  );
  const take = replace(
    FrameBuilder.prototype,
    'take',
    (original) =>
      function (this: FrameBuilder, epoch) {
        release(this);
        return original.call(this, epoch);
      },
  );
  return both(add, take);
}

/** Members of partitions are driven by the catalog as it is: nobody asks whether it is that of now. */
function driveAtOnce(): () => void {
  const original = Object.getOwnPropertyDescriptor(Drive.prototype, 'hasPartitions')!;
  Object.defineProperty(Drive.prototype, 'hasPartitions', { ...original, get: () => false });
  return () => void Object.defineProperty(Drive.prototype, 'hasPartitions', original);
}

/** Settled partitions are not compared with the catalog. */
const reviewNobody = (): (() => void) => replace(Drive.prototype, 'reviewMembers', () => () => undefined);

/** After two seconds each partition has a member that only learns, though it should vote. */
function demoteOneEach(world: World): void {
  world.scheduler.after(2000, () => {
    for (const node of world.nodes)
      node.enter(({ host, partitions }) => {
        for (const id of partitions.keys()) {
          const group = host.group(id);
          if (group?.leading !== true) continue;
          const { voters } = group.status().membership;
          const other = voters.find((peer) => peer !== host.self)!;
          group.proposeMembership({ voters: voters.filter((peer) => peer !== other), learners: [other] });
        }
      });
  });
}

/** Who is no replica any more drops its copy at once, though it may be the one from which the others still have to learn. */
function dropAtOnce(): () => void {
  const original = Object.getOwnPropertyDescriptor(MetaMachine.prototype, 'streams')!;
  const get = function (this: MetaMachine): ReadonlyMap<number, MetaStream> {
    const streams: ReadonlyMap<number, MetaStream> = original.get!.call(this);
    return new Map([...streams].map(([id, record]) => [id, { ...record, members: record.replicas }]));
  };
  Object.defineProperty(MetaMachine.prototype, 'streams', { ...original, get });
  return () => void Object.defineProperty(MetaMachine.prototype, 'streams', original);
}

const withHardState = (ready: Ready, hardState: HardState | undefined): Ready => ({ ...ready, hardState });

/** Votes and quick restarts, while elections are contested. */
const contested = ['crash points', 'cut between two', 'power loss', 'process crash', 'crash loop', 'lossy network'];
/** Messages are delivered by a leader that has a successor. */
const handOver = {
  faults: ['leader cut off'],
  workloads: ['work queue', 'interest'],
  faultGapMs: 4000,
  durationMs: 12_000,
};
/** Where a message is looked for lies another one, or none. */
const STRANGE_ENTRY = /holds another message|RangeError/;
/** Leaders with entries that nobody else got come back when their successors have folded the log. */
const leftBehind = {
  faults: ['leader cut off', 'partition', 'process crash'],
  workloads: [],
  faultGapMs: 4000,
  durationMs: 15_000,
};
/** Leadership is handed over, and nothing else happens. What the first node decides is not committed at once, for the other disks are slower. */
export const gentle: Omit<ScenarioOptions, 'seed'> = {
  faults: ['rolling restart'],
  workloads: ['pipelined'],
  faultGapMs: 700,
  prepare: (world) => {
    for (const { disk } of world.nodes.slice(1)) disk.latency.syncMs = 20;
  },
};
const WITHOUT_ITS_VOTERS = /no progress after healing: .*its voters are not its replicas/;
const powerAtAcks = ['power loss at an ack', 'slow disk'];

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'votes and acknowledgements are sent before they are durable',
    plant: ready((_raft, r) => ({ ...r, send: [...r.send, ...r.sendDurable], sendDurable: [] })),
    options: { faults: powerAtAcks, workloads: [] },
    seeds: 6,
  },
  {
    name: 'the vote is not stored',
    plant: ready((_raft, r) => withHardState(r, r.hardState && { ...r.hardState, vote: 0 })),
    options: { faults: contested, workloads: [] },
    seeds: 2,
    found: /the disk says vote/,
  },
  {
    name: 'the term is not stored',
    plant: ready((_raft, r) => withHardState(r, undefined)),
    options: { faults: contested, workloads: [] },
    seeds: 2,
    found: /the disk says vote/,
  },
  {
    name: 'the leader counts itself before its own sync',
    plant: heldAck((runner) => {
      const { raft } = runner;
      if (raft.role !== 'leader') return;
      raft.persisted(raft.lastIndex, raft.lastTerm);
      runner.syncedTo = raft.lastIndex;
    }),
    options: { faults: powerAtAcks, workloads: [] },
    seeds: 20,
  },
  {
    name: 'an acknowledgement that is held counts for two members',
    plant: heldAck((runner, acker, index, round) => {
      const { voters } = runner.raft.membership;
      const from = voters.find((peer) => peer !== acker && peer !== runner.raft.id);
      if (from === undefined || runner.steadiness !== 'leads') return;
      runner.acks = [...runner.acks.slice(0, runner.ackNumbers), from, index, round];
      runner.ackNumbers = runner.acks.length;
    }),
    options: { faults: powerAtAcks, workloads: [] },
    seeds: 20,
  },
  {
    name: 'an entry of an older term is committed by counting',
    plant: () =>
      replace(
        Raft.prototype,
        'takeReady',
        (takeReady) =>
          function (this: Raft): Ready {
            const s = this.state;
            if (s.lead !== undefined) s.setCommit(Math.min(majorityIndex(s, s.members.latest.voters), s.log.lastIndex));
            return takeReady.call(this);
          },
      ),
    options: { faults: [...contested, 'slow disk', 'leader cut off'], workloads: [], faultGapMs: 500 },
    seeds: 20,
    found: /committed by counting/,
  },
  {
    name: 'a leader commits what it alone has',
    plant: () =>
      replace(
        Raft.prototype,
        'takeReady',
        (takeReady) =>
          function (this: Raft): Ready {
            const s = this.state;
            if (s.lead !== undefined && s.log.termOf(s.stable) === s.term && s.stable > s.commit) s.setCommit(s.stable);
            return takeReady.call(this);
          },
      ),
    options: { faults: ['partition', 'process crash'], workloads: [] },
    seeds: 8,
  },
  {
    name: 'syncs make nothing durable',
    plant: () => () => undefined,
    options: {
      faults: ['power loss of all'],
      workloads: [],
      prepare: (world) => {
        world.scheduler.after(2000, () => {
          for (const { disk } of world.nodes) disk.faults.losesSyncs = true;
        });
      },
    },
    seeds: 4,
  },
  {
    name: 'publishes are acknowledged before they are committed',
    plant: () =>
      replace(PubAckQueue.prototype, 'stored', () => (sink, token, seq) => {
        sink.stored(token, seq, false);
      }),
    options: { faults: ['power loss at an ack', 'process crash', 'partition'], workloads: [] },
    seeds: 4,
    found: /lost|seq-reused/,
  },
  {
    name: 'the duplicate table is not in the snapshot',
    plant: () =>
      replace(RecentIds.prototype, 'write', (write) => (_out) => {
        write.call(new RecentIds(1), _out);
      }),
    options: { faults: ['process crash', 'power loss'], workloads: [] },
    seeds: 3,
  },
  {
    name: 'a new leader delivers again what was acknowledged above the floor',
    plant: () =>
      replace(
        Partition.prototype,
        'onLeading',
        (onLeading) =>
          function (this: Partition, term, paused) {
            for (const record of (this.machine.consumers as ConsumerRegistry).records())
              record.deliveredSeq = record.floorSeq;
            onLeading.call(this, term, paused);
          },
      ),
    options: { faults: ['process crash'], workloads: [] },
    seeds: 3,
  },
  {
    name: 'an ack is confirmed before it is committed',
    plant: () =>
      replace(
        Partition.prototype,
        'proposeCommand',
        (proposeCommand) =>
          function (this: Partition, type, body, done) {
            const isCreate = type === ConsumerCommand.create;
            proposeCommand.call(this, type, body, isCreate ? done : undefined);
            if (!isCreate) done?.(undefined);
          },
      ),
    options: { faults: ['process crash', 'power loss at an ack', 'partition'], workloads: ['work queue', 'interest'] },
    seeds: 48,
    found: /redelivered|came-back/,
  },
  {
    name: 'a leader that is cut off goes on leading, and answers reads without asking',
    plant: () =>
      both(
        goOnLeading(),
        replace(
          GroupRunner.prototype,
          'readBarrier',
          () =>
            function (this: GroupRunner, done) {
              done(!this.closed);
            },
        ),
      ),
    options: { faults: ['leader cut off'], workloads: [], faultGapMs: 4000, durationMs: 12_000 },
    seeds: 4,
    found: /stale-read/,
  },
  {
    name: 'a leader that is cut off goes on leading, and hands out without proof',
    plant: () =>
      both(
        goOnLeading(),
        replace(Partition.prototype, 'provenUntilMs', () => () => Number.POSITIVE_INFINITY),
      ),
    options: handOver,
    seeds: 8,
    found: /redelivered-after-ack/,
  },
  {
    name: 'a leader that is cut off goes on leading, and a proof lasts longer than successors wait',
    plant: () =>
      both(
        goOnLeading(),
        replace(defaultLimits, 'proofMs', () => 6000),
      ),
    options: handOver,
    seeds: 8,
    found: /redelivered-after-ack/,
  },
  {
    name: 'a node in doubt acknowledges',
    plant: () => replace(Doubt.prototype, 'hasRisen', () => () => true),
    options: { faults: ['forgotten vote'], workloads: [], faultGapMs: 6000, durationMs: 20_000 },
    seeds: 12,
    found: /lost/,
  },
  {
    name: 'a snapshot keeps what is in the log below it, committed or not',
    plant: () => replace(SnapshotReceiver.prototype, 'keptOf', () => (runner) => runner.raft.lastIndex),
    options: leftBehind,
    seeds: 6,
    found: STRANGE_ENTRY,
  },
  {
    name: 'an entry of any term tells that the log before it is the same',
    plant: () =>
      replace(
        SnapshotReceiver.prototype,
        'lastMatch',
        () =>
          ({ raft }, committed) =>
            committed.findLast(({ index }) => index <= raft.lastIndex)?.index ?? 0,
      ),
    options: leftBehind,
    seeds: 6,
    found: STRANGE_ENTRY,
  },
  {
    name: 'leadership is handed over before what is under way is committed',
    plant: () =>
      replace(
        Raft.prototype,
        'transferLeadership',
        (transferLeadership) =>
          function (this: Raft, to, nowMs) {
            transferLeadership.call(this, to, nowMs);
            const transfer = this.state.lead?.transfer;
            if (transfer === undefined || transfer.sent) return;
            transfer.sent = true;
            this.state.send(to, { type: 'timeout-now' });
          },
      ),
    options: gentle,
    seeds: 8,
    found: /no-service/,
  },
  {
    name: 'what is under way when leadership is handed over is given back as well',
    plant: giveBackUnderWay,
    options: gentle,
    seeds: 4,
    found: /is stored as seq/,
  },
  {
    name: 'what waited for the next leader leaves in another order',
    plant: swapForwards,
    options: gentle,
    seeds: 4,
    found: /send-order/,
  },
  {
    name: 'a leader takes what was sent to it in an earlier term',
    plant: takeOfAnyTerm,
    options: { faults: ['hand-overs in a row'], workloads: ['pipelined'], faultGapMs: 700, durationMs: 15_000 },
    seeds: 10,
    found: /send-order/,
  },
  {
    name: 'a settled partition is not looked at again',
    plant: reviewNobody,
    options: { faults: [], workloads: [], prepare: demoteOneEach },
    seeds: 2,
    found: WITHOUT_ITS_VOTERS,
  },
  {
    // Without the barrier alone nothing is found, because the review takes back who was sent away (meta.test.ts holds the barrier).
    name: 'members are driven without a barrier, and a settled partition is not looked at again',
    plant: () => both(driveAtOnce(), reviewNobody()),
    options: {
      faults: [EMPTIED_TWICE.name],
      workloads: ['partitions', 'partitioned queue'],
      faultGapMs: 1000,
      durationMs: 30_000,
    },
    seeds: 6,
    found: WITHOUT_ITS_VOTERS,
  },
  {
    name: 'a copy goes before those that replace it have its content',
    plant: dropAtOnce,
    options: { faults: [], workloads: [MOVES] },
    seeds: 2,
    found: WITHOUT_ITS_VOTERS,
  },
  {
    // Those who leave forget their votes and their logs while they may yet be members again.
    name: 'a move is reported as done before its last change of members is committed',
    plant: () =>
      replace(
        GroupRunner.prototype,
        'status',
        (status) =>
          function (this: GroupRunner) {
            return { ...status.call(this), commit: this.raft.lastIndex };
          },
      ),
    options: {
      faults: ['power loss', 'process crash', 'slow disk'],
      workloads: [MOVES, 'partitions'],
      faultGapMs: 500,
      durationMs: 15_000,
    },
    seeds: 12,
    found: /lost|both lead/,
  },
  {
    name: 'a conditional publish is stored whatever it expects',
    plant: () =>
      replace(
        SimClient.prototype,
        'request',
        (request) =>
          function (this: SimClient, subject, payload, _headers, timeoutMs, done) {
            request.call(this, subject, payload, {}, timeoutMs, done);
          },
      ),
    options: { faults: [], workloads: [] },
    seeds: 2,
    found: /compare-and-set/,
  },
];

export interface Hunt {
  seed: number;
  finding: string;
}

/** The first seed that finds it, or undefined. */
export function hunt(mutant: Mutant, seeds = mutant.seeds): Hunt | undefined {
  const undo = mutant.plant();
  try {
    for (let seed = 1; seed <= seeds; seed++) {
      const { findings } = runScenario({ seed, durationMs: 8000, ...mutant.options });
      const finding = findings.find((text) => mutant.found?.test(text) ?? true);
      if (finding !== undefined) return { seed, finding };
    }
    return undefined;
  } finally {
    undo();
  }
}
