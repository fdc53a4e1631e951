// One node of test/sim/core-sim.ts: a core, its disk, and the smallest honest host around them: it does what each Ready
// says, in the order that types.ts demands, and reports every step to the checker.
import { Common } from '../../cluster/core/common.ts';
import { isVote } from '../../cluster/core/election.ts';
import { defaultLimits, type Limits } from '../../cluster/core/limits.ts';
import type { Raft } from '../../cluster/core/raft.ts';
import type { Index, Membership, PeerId, RaftMessage, Ready, SnapshotMeta, Term } from '../../cluster/core/types.ts';
import { EntryKind } from '../../cluster/core/types.ts';
import { CoreDisk, type SimSnapshot } from './core-sim-disk.ts';
import { type Truth, Violation } from './core-sim-truth.ts';
import type { Prng } from './prng.ts';
import type { Scheduler } from './scheduler.ts';

const NO_BYTES = new Uint8Array(0);

/** Bugs that a host may have; each breaks a rule that the checker must notice. */
export interface HostBugs {
  votesBeforeDurable?: boolean;
  acksBeforeDurable?: boolean;
  countsItselfEarly?: boolean;
  forgetsVote?: boolean;
  claimsCompleteLog?: boolean;
}

export interface NodeWorld {
  readonly scheduler: Scheduler;
  readonly truth: Truth;
  readonly nodes: readonly CoreNode[];
  readonly bugs: HostBugs;
  readonly limits: Partial<Limits>;
  /** The core under test; mutants are subclasses. */
  readonly Core: typeof Raft;
  send(message: RaftMessage): void;
  sent(node: CoreNode, message: RaftMessage): void;
  transferSnapshot(from: CoreNode, to: PeerId): void;
  trace(text: () => string): void;
}

interface PendingRead {
  ackedBefore: Index;
  askedMs: number;
}

export class CoreNode {
  readonly id: PeerId;
  readonly disk: CoreDisk;
  raft!: Raft;
  alive = false;
  paused = false;
  mayVote = true;
  preferred = false;
  applied: Index = 0;
  appliedChain = 0;
  /** Outcomes: refused or answered reads. */
  readsOk = 0;
  readsRefused = 0;
  snapshotsInstalled = 0;

  private readonly world: NodeWorld;
  private readonly prng: Prng;
  private backlog: (() => void)[] = [];
  private turnDue = false;
  private installing = false;
  private life = 0;
  private tickAtMs = Number.POSITIVE_INFINITY;
  private ledTerm: Term = 0;
  private seen = { term: 0, commit: 0 };
  private readonly proposed = new Map<Index, { term: Term; id: number }>();
  private readonly pendingReads = new Map<number, PendingRead>();
  private readyReads: { context: number; index: Index }[] = [];
  private nextContext = 1;

  constructor(id: PeerId, genesis: Membership, world: NodeWorld, prng: Prng) {
    this.id = id;
    this.world = world;
    this.prng = prng.stream(`node-${id}`);
    this.disk = new CoreDisk(genesis, world.scheduler, prng.stream(`disk-${id}`), world.truth);
  }

  get name(): string {
    return `n${this.id}`;
  }

  get nowMs(): number {
    return this.world.scheduler.nowMs;
  }

  start(): void {
    const found = this.disk.recover();
    if (this.world.bugs.forgetsVote) found.hardState = { term: found.hardState.term, vote: 0 };
    this.raft = new this.world.Core({
      common: new Common(this.id, { ...defaultLimits, ...this.world.limits }),
      group: 1,
      random: this.prng.float,
      nowMs: this.nowMs,
      mayVote: this.mayVote,
      preferred: this.preferred,
      ...found,
    });
    this.applied = found.snapshot?.index ?? 0;
    this.appliedChain = found.snapshot?.chain ?? 0;
    this.seen = { term: found.hardState.term, commit: this.applied };
    this.ledTerm = 0;
    this.installing = false;
    this.tickAtMs = Number.POSITIVE_INFINITY;
    this.alive = true;
    this.world.trace(() => `${this.name} starts at term ${found.hardState.term}, log ..${found.lastIndex}`);
    this.scheduleTick();
  }

  crash(): void {
    this.life++;
    this.alive = false;
    this.paused = false;
    this.turnDue = false;
    this.backlog = [];
    this.proposed.clear();
    this.pendingReads.clear();
    this.readyReads = [];
    this.disk.crash();
    this.world.trace(() => `${this.name} crashes`);
  }

  /** Runs an event of this node now, or when its pause ends. */
  run(event: () => void): void {
    if (!this.alive) return;
    if (this.paused) {
      this.backlog.push(event);
      return;
    }
    event();
    this.afterEvent();
  }

  pause(): void {
    if (this.alive) this.paused = true;
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    const events = this.backlog;
    this.backlog = [];
    for (const event of events) this.run(event);
    this.run(() => {});
  }

  receive(message: RaftMessage): void {
    this.run(() => {
      this.world.trace(() => `${this.name} <- ${JSON.stringify(message)}`);
      this.raft.step(message, this.nowMs);
    });
  }

  propose(id: number): boolean {
    if (!this.alive || this.paused) return false;
    const at = this.raft.propose(EntryKind.batch, NO_BYTES, id);
    if (at === undefined) return false;
    this.proposed.set(at.index, { term: at.term, id });
    this.afterEvent();
    return true;
  }

  changeMembership(to: Membership): boolean {
    if (this.raft.proposeMembership(to) === undefined) return false;
    this.world.trace(() => `${this.name} proposes ${JSON.stringify(to)}`);
    this.afterEvent();
    return true;
  }

  setMayVote(mayVote: boolean): void {
    this.mayVote = mayVote;
    this.run(() => this.raft.setMayVote(mayVote));
  }

  read(): void {
    this.run(() => {
      const context = this.nextContext++;
      this.pendingReads.set(context, { ackedBefore: this.world.truth.acked, askedMs: this.nowMs });
      this.raft.readIndex(context, this.nowMs);
    });
  }

  /** Every read must have an answer within a bound, however bad the network. */
  checkReads(): void {
    if (!this.alive || this.paused) return;
    for (const read of this.pendingReads.values()) {
      // A leader whose term's first entry cannot commit keeps its reads until check-quorum ends its leadership.
      if (this.nowMs - read.askedMs < 10_000 || this.readyReads.length > 0) continue;
      throw new Violation('read-answered', `${this.name} left a read open for 10 s as ${this.raft.role}`);
    }
  }

  /** The membership that rules is the last one that the log names. */
  checkMembership(): void {
    if (!this.alive || this.raft.hasReady()) return;
    const latest = this.disk.memory.entries.findLast(({ membership }) => membership !== undefined)?.membership;
    if (latest === undefined || latest === this.raft.membership) return;
    throw new Violation(
      'membership-of-log',
      `${this.name} has ${this.raft.membership.voters}, its log ${latest.voters}`,
    );
  }

  private afterEvent(): void {
    const { raft, seen, world } = this;
    if (raft.term < seen.term) throw new Violation('term-monotonic', `${this.name} from ${seen.term} to ${raft.term}`);
    if (raft.commit < seen.commit) throw new Violation('commit-monotonic', `${this.name} to ${raft.commit}`);
    if (raft.commit > raft.lastIndex) throw new Violation('commit-in-log', `${this.name} at ${raft.commit}`);
    if (raft.commit > seen.commit && raft.role === 'leader') world.truth.isDurable(this, raft.commit, world.nodes);
    this.seen = { term: raft.term, commit: raft.commit };
    if (raft.role === 'leader' && this.ledTerm !== raft.term) {
      this.ledTerm = raft.term;
      world.trace(() => `${this.name} leads term ${raft.term}`);
      world.truth.onLeader(this);
    }
    this.scheduleTick();
    if (this.turnDue || !raft.hasReady()) return;
    this.turnDue = true;
    const { life } = this;
    world.scheduler.after(this.prng.float(), () => {
      if (life !== this.life) return;
      this.turnDue = false;
      this.run(() => this.turn());
    });
  }

  private scheduleTick(): void {
    const due = this.raft.nextDeadlineMs;
    if (due >= this.tickAtMs || due === Number.POSITIVE_INFINITY) return;
    this.tickAtMs = Math.max(due, this.nowMs);
    const { life } = this;
    this.world.scheduler.at(this.tickAtMs, () => {
      if (life !== this.life) return;
      this.tickAtMs = Number.POSITIVE_INFINITY;
      this.run(() => {
        if (this.raft.nextDeadlineMs <= this.nowMs) this.raft.tick(this.nowMs);
      });
    });
  }

  private turn(): void {
    const { raft } = this;
    if (!raft.hasReady()) return;
    const ready = raft.takeReady();
    const { bugs } = this.world;
    if (ready.hardState !== undefined) this.disk.saveHardState(ready.hardState);
    for (const entry of ready.append) this.disk.append(entry);
    for (const message of ready.send) this.send(message);
    const early = ready.sendDurable.filter(
      ({ type }) =>
        (bugs.votesBeforeDurable && type === 'vote-reply') || (bugs.acksBeforeDurable && type === 'append-reply'),
    );
    for (const message of early) this.send(message);
    const late = ready.sendDurable.filter((message) => !early.includes(message));
    if (ready.append.length > 0 || ready.hardState !== undefined || late.length > 0) {
      const { lastIndex, lastTerm } = raft;
      if (bugs.countsItselfEarly) raft.persisted(lastIndex, lastTerm);
      this.disk.flush(() =>
        this.run(() => {
          for (const message of late) this.send(message);
          if (ready.sendDurable.some(isVote)) raft.votesLeft(this.nowMs);
          raft.persisted(lastIndex, lastTerm);
        }),
      );
    }
    this.apply(ready);
    for (const peer of ready.snapshotTo) this.world.transferSnapshot(this, peer);
    for (const { context, ok, index } of ready.reads) this.answerRead(context, ok, index);
    this.completeReads();
  }

  private send(message: RaftMessage): void {
    this.world.sent(this, message);
    if (message.type === 'append') {
      this.sendAppend(message);
      return;
    }
    if (this.world.bugs.claimsCompleteLog && message.type === 'vote') message.lastTerm = message.term;
    this.world.truth.onSend(message);
    this.world.send(message);
  }

  /** Attaches entries, and sometimes cuts the range in two. */
  private sendAppend(message: RaftMessage & { type: 'append' }): void {
    const { memory } = this.disk;
    const { first, last } = message;
    if (first <= memory.base && first <= last) return;
    const entries = memory.entries.slice(first - memory.base - 1, last - memory.base);
    for (const { index, term } of entries) this.world.truth.onEntry(index, term, memory.chainAt(index)!);
    if (entries.length > 1 && this.prng.chance(0.3)) {
      const cut = first + this.prng.int(entries.length - 1);
      const prevTerm = memory.termOf(cut)!;
      this.world.send({ ...message, last: cut, entries: entries.slice(0, cut - first + 1) });
      this.world.send({
        ...message,
        prevIndex: cut,
        prevTerm,
        first: cut + 1,
        entries: entries.slice(cut - first + 1),
      });
    } else this.world.send({ ...message, entries });
  }

  private apply(ready: Ready): void {
    const { disk, world } = this;
    while (this.applied < ready.commit) {
      const entry = disk.memory.at(this.applied + 1);
      if (entry === undefined) throw new Violation('apply-gap', `${this.name} has no entry ${this.applied + 1}`);
      this.applied++;
      this.appliedChain = disk.memory.chainAt(this.applied)!;
      world.truth.onCommit(this, this.applied, entry.term, this.appliedChain, world.nodes);
      const mine = this.proposed.get(this.applied);
      this.proposed.delete(this.applied);
      if (mine !== undefined && mine.term === entry.term && mine.id === entry.crc) world.truth.onAck(this.applied);
    }
  }

  private answerRead(context: number, ok: boolean, index: Index): void {
    const read = this.pendingReads.get(context);
    if (read === undefined) throw new Violation('read-once', `${this.name} answers context ${context} again`);
    if (ok) {
      this.world.truth.onRead(this, index, read.ackedBefore);
      this.readyReads.push({ context, index });
    } else {
      this.readsRefused++;
      this.pendingReads.delete(context);
    }
  }

  private completeReads(): void {
    this.readyReads = this.readyReads.filter(({ context, index }) => {
      if (index > this.applied) return true;
      this.readsOk++;
      this.pendingReads.delete(context);
      return false;
    });
  }

  /** Saves a snapshot at the applied index and forgets most of the log below it. */
  compact(): void {
    this.run(() => {
      const index = this.applied;
      if (this.installing || index <= (this.disk.snapshot?.index ?? 0)) return;
      this.disk.saveSnapshot(this.snapshotAt(index));
      this.disk.flush(() =>
        this.run(() => {
          if (index <= (this.disk.snapshot?.index ?? 0) || index <= this.disk.memory.base) return;
          this.disk.snapshot = this.snapshotAt(index);
          const from = Math.max(this.disk.memory.base + 1, index + 1 - this.prng.int(10));
          this.disk.memory.dropTo(from - 1);
          this.raft.compacted(from);
        }),
      );
    });
  }

  private snapshotAt(index: Index): SimSnapshot {
    const { memory } = this.disk;
    const membership = this.raft.membershipAt(index);
    return { index, term: memory.termOf(index)!, membership, chain: memory.chainAt(index)! };
  }

  /** A peer's snapshot has arrived in full. `done(index)` when this node has all of it durably. */
  receiveSnapshot(snapshot: SimSnapshot, done: (index: Index) => void): void {
    this.run(() => {
      // What the core has handed out must be in the log before the log is replaced.
      this.turn();
      const meta: SnapshotMeta = { index: snapshot.index, term: snapshot.term, membership: snapshot.membership };
      const answer = this.raft.acceptSnapshot(meta);
      if (answer === 'have') done(meta.index);
      if (answer !== 'install') return;
      this.installing = true;
      this.disk.installSnapshot(snapshot);
      this.disk.flush(() =>
        this.run(() => {
          this.world.trace(() => `${this.name} restored snapshot ${meta.index}`);
          this.world.truth.onSnapshot(this, meta.index, snapshot.chain);
          this.raft.restoredSnapshot(meta);
          this.disk.snapshot = snapshot;
          this.disk.memory.reset(snapshot);
          this.applied = meta.index;
          this.appliedChain = snapshot.chain;
          this.snapshotsInstalled++;
          this.installing = false;
          done(meta.index);
        }),
      );
    });
  }
}
