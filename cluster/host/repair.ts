// Entries that are damaged here come back from the other members; no leader is needed for it. Owned by the host: recovery's damaged ranges, and
// whatever a read could not verify. Invariants: a copy is taken only if it is certainly the same entry (of the term that the log here has at that
// index, which by log matching names one entry; or, where that is not known, committed at its sender); nothing is truncated, and a log of unknown
// terms that certainly ends otherwise than the others' is covered by a snapshot; until the log above the snapshot is whole again this node does not
// stand for election. A leader leads on with a hole that others can fill; when a majority certainly has no copy of the entry it gives way to them,
// for it could never send what it cannot read: they decide what the entry was, by the log that they have.
import { majorityOf } from '../core/membership.ts';
import type { GroupId, Index, LogEntry, PeerId, Term } from '../core/types.ts';
import type { Rpc, Transport } from '../rpc/types.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';
import { decodeEntries, decodeRequest, type Entries, encodeEntries, encodeRequest } from './transfer-codec.ts';
import type { HostStats } from './types.ts';

const METHOD = 'repair.entries';
const BATCH_BYTES = 512 * 1024;
const TIMEOUT_MS = 3_000;
const TASKS_MAX = 1_000;
const SCRUB_PASS_MS = 24 * 3_600_000;
const SCRUB_BYTES_MIN = 64 * 1024;

interface Task {
  runner: GroupRunner;
  first: Index;
  last: Index;
  asking: boolean;
  /** Whom to ask next, as a position in the list of members. */
  turn: number;
  /** Members that certainly have no copy of the entry at `first`. */
  lacking: Set<PeerId>;
  waiters: (() => void)[];
}

interface Owner extends RunnerOwner {
  readonly stats: HostStats;
  readonly self: PeerId;
  readonly transport: Transport;
  group(id: GroupId): GroupRunner | undefined;
  groups(): Iterable<GroupRunner>;
  /** The log above the snapshot is whole again. */
  repaired(runner: GroupRunner): void;
  /** The right to vote and to lead has changed. */
  reviewVote(runner: GroupRunner): void;
}

export class Repair {
  private readonly owner: Owner;
  private readonly rpc: Rpc;
  private tasks: Task[] = [];
  private readonly holding = new Set<GroupRunner>();
  /** Unverifiable reads for which all damage has a task. */
  private knownReads = 0;

  constructor(owner: Owner, rpc: Rpc) {
    this.owner = owner;
    this.rpc = rpc;
    rpc.handle(METHOD, (_from, bytes, reply) => this.serve(bytes, reply));
  }

  open(runner: GroupRunner): void {
    const ranges = this.owner.wal.damagedRanges(runner.id);
    if (ranges.length === 0) return;
    const count = ranges.reduce((sum, range) => sum + range.last - range.first + 1, 0);
    this.owner.env.log.error(`group ${runner.id}: ${count} entries are damaged, they are fetched from other members`);
    if (this.hasTailDamage(runner)) this.holding.add(runner);
    for (const { first, last } of ranges) this.add(runner, first, last, () => {});
  }

  /** Does damage above the snapshot bar candidacy? */
  holdsTail(runner: GroupRunner): boolean {
    return this.holding.has(runner);
  }

  /** Are entries of the group being fetched? */
  isBusy(runner: GroupRunner): boolean {
    return this.tasks.some((task) => task.runner === runner);
  }

  /** `then` runs when the entry was repaired; at once, when too much is damaged already. */
  need(runner: GroupRunner, index: Index, then: () => void): void {
    const known = this.tasks.find((task) => task.runner === runner && task.first <= index && index <= task.last);
    if (known !== undefined) known.waiters.push(then);
    else if (this.tasks.length >= TASKS_MAX) then();
    else {
      this.owner.env.log.error(`group ${runner.id}: entry ${index} is damaged, it is fetched from another member`);
      this.add(runner, index, index, then);
    }
  }

  dropGroup(group: GroupId): void {
    const dropped = this.tasks.filter((task) => task.runner.id === group);
    this.tasks = this.tasks.filter((task) => task.runner.id !== group);
    this.owner.stats.rangesInRepair = this.tasks.length;
    for (const runner of this.holding) if (runner.id === group) this.holding.delete(runner);
    for (const task of dropped) for (const waiter of task.waiters) waiter();
  }

  keepHouse(): void {
    this.lookForMore();
    for (const task of [...this.tasks]) this.ask(task);
    // What another leader's entries have replaced is no damage any more.
    for (const runner of this.holding) this.settleTail(runner);
  }

  /** Called at every `everyMs`: everything sealed is read again within a day, for latent damage must be found while others have good copies. */
  scrub(everyMs: number): void {
    const { wal } = this.owner;
    const bytes = Math.max(SCRUB_BYTES_MIN, Math.ceil((wal.stats.bytes * everyMs) / SCRUB_PASS_MS));
    wal.scrub(bytes, (found) => {
      for (const { group, index } of found) {
        const runner = this.owner.group(group);
        if (runner !== undefined) this.need(runner, index, () => {});
      }
    });
  }

  /** Compaction meets damage as well, and tells nobody but the log. */
  private lookForMore(): void {
    const { wal } = this.owner;
    const { damagedReads } = wal.stats;
    if (damagedReads === this.knownReads) return;
    this.knownReads = damagedReads;
    for (const runner of this.owner.groups()) {
      for (const { first, last } of wal.damagedRanges(runner.id)) {
        // Part of it is on its way: the rest is looked at again.
        const isUnderWay = this.tasks.some(
          (task) => task.runner === runner && task.first <= last && first <= task.last,
        );
        if (isUnderWay || this.tasks.length >= TASKS_MAX) this.knownReads = -1;
        else this.add(runner, first, last, () => {});
      }
    }
  }

  private add(runner: GroupRunner, first: Index, last: Index, then: () => void): void {
    const task: Task = { runner, first, last, asking: false, turn: 0, lacking: new Set(), waiters: [then] };
    this.tasks.push(task);
    this.owner.stats.rangesDamaged++;
    this.owner.stats.rangesInRepair = this.tasks.length;
    this.ask(task);
  }

  private ask(task: Task): void {
    if (task.asking) return;
    const { runner } = task;
    const last = this.nextRun(task);
    if (last === undefined) {
      this.finish(task);
      return;
    }
    const { voters, learners } = runner.raft.membership;
    const peers = [...voters, ...learners].filter(
      (peer) => peer !== this.owner.self && this.owner.transport.isUp(peer),
    );
    if (peers.length === 0) return;
    task.asking = true;
    const peer = peers[task.turn++ % peers.length];
    const request = encodeRequest({ group: runner.id, index: 0, from: task.first, to: last });
    this.rpc.request(peer, METHOD, request, TIMEOUT_MS, (answer) => {
      task.asking = false;
      if (runner.closed || !this.tasks.includes(task)) return;
      const batch = answer.ok ? decodeEntries(answer.bytes) : undefined;
      if (batch === undefined) return;
      const asked = batch.entries.filter(({ index }) => index >= task.first && index <= task.last);
      const same = asked.filter((entry) => this.isSame(runner, entry, batch.commit));
      if (same.length > 0) this.take(task, same);
      else if (batch.gone && batch.commit >= last && last > runner.applied) this.wantSnapshot(task, last);
      else if (asked.some((entry) => this.isReplaced(runner, entry, batch.commit))) this.wantSnapshot(task, last);
      else if (this.isWithout(task, batch)) this.lacks(task, peer);
    });
  }

  /** Is it certain that the member has no copy of the entry at `first`? One that cannot read its own, or is not sure what it had, may have
   * acknowledged it. */
  private isWithout(task: Task, { entries, next, commit }: Entries): boolean {
    if (commit >= task.first || next === 0) return false;
    return next <= task.first || entries[0]?.index === task.first;
  }

  private lacks(task: Task, peer: PeerId): void {
    const { runner } = task;
    const { raft } = runner;
    task.lacking.add(peer);
    if (raft.role !== 'leader' || task.first < this.owner.wal.firstIndex(runner.id)) return;
    // A majority had it once: nobody is better off without this leader.
    if (task.first <= raft.commit) return;
    const { voters } = raft.membership;
    if (voters.filter((voter) => task.lacking.has(voter)).length < majorityOf(voters)) return;
    this.owner.env.log.error(
      `group ${runner.id}: entry ${task.first} is damaged and nobody else has it: a member without it is to lead`,
    );
    this.holding.add(runner);
    this.owner.reviewVote(runner);
  }

  /** Last index of the run to ask for next; skips what lies below the snapshot and is dead. Undefined: nothing is left. */
  private nextRun(task: Task): Index | undefined {
    const { runner } = task;
    const firstIndex = this.owner.wal.firstIndex(runner.id);
    const isWanted = (index: Index) => index >= firstIndex || runner.stateMissing || runner.machine.isEntryLive(index);
    while (task.first <= task.last && !isWanted(task.first)) task.first++;
    if (task.first > task.last) return undefined;
    let last = task.first;
    while (last < task.last && isWanted(last + 1)) last++;
    return last;
  }

  /** It was committed, and the others have folded it into a snapshot: nobody has it as an entry any more. */
  private wantSnapshot(task: Task, last: Index): void {
    const { runner } = task;
    runner.snapshotWanted = Math.max(runner.snapshotWanted ?? 0, runner.termsUnknown ? runner.raft.lastIndex : last);
  }

  /** The group's machine was replaced, or its log begins later: some damage may not matter any more. */
  review(runner: GroupRunner): void {
    for (const task of this.tasks.filter((task) => task.runner === runner)) this.ask(task);
    this.settleTail(runner);
  }

  private isSame(runner: GroupRunner, entry: LogEntry, commit: Index): boolean {
    // What was committed there with another term takes the place of the entry here when a leader sends it, not before.
    const term = this.termOf(runner, entry.index);
    return term === undefined ? entry.index <= commit : term === entry.term;
  }

  /** Did others commit something else where the log here has an entry? No leader sends that to a log whose terms are not known. */
  private isReplaced(runner: GroupRunner, { index, term }: LogEntry, commit: Index): boolean {
    if (!runner.termsUnknown || index > commit) return false;
    const here = this.termOf(runner, index);
    return here !== undefined && here !== term;
  }

  /** Of the entry that the log has here; undefined where it is not known. */
  private termOf(runner: GroupRunner, index: Index): Term | undefined {
    return runner.termsUnknown ? this.owner.wal.termOf(runner.id, index) : runner.raft.termOf(index);
  }

  private take(task: Task, entries: LogEntry[]): void {
    const { runner } = task;
    const { wal } = this.owner;
    wal.repair(runner.id, entries);
    wal.flush(() => {
      if (runner.closed || !this.tasks.includes(task)) return;
      this.owner.stats.entriesRepaired += entries.length;
      task.lacking.clear();
      const left = wal.damagedRanges(runner.id).find((range) => range.last >= task.first && range.first <= task.last);
      if (left === undefined) this.finish(task);
      // Where nothing has become better another member is asked, a while later.
      else if (left.first > task.first) {
        task.first = left.first;
        this.ask(task);
      }
    });
  }

  private finish(task: Task): void {
    const { runner } = task;
    this.tasks = this.tasks.filter((other) => other !== task);
    this.owner.stats.rangesRepaired++;
    this.owner.stats.rangesInRepair = this.tasks.length;
    this.settleTail(runner);
    for (const waiter of task.waiters) waiter();
  }

  private settleTail(runner: GroupRunner): void {
    if (!this.holding.has(runner) || this.hasTailDamage(runner)) return;
    this.holding.delete(runner);
    this.owner.env.log.info(`group ${runner.id}: the log is whole again`);
    this.owner.repaired(runner);
  }

  private hasTailDamage(runner: GroupRunner): boolean {
    const { wal } = this.owner;
    return wal.damagedRanges(runner.id).some((range) => range.last >= wal.firstIndex(runner.id));
  }

  private serve(bytes: Uint8Array, reply: (bytes: Uint8Array) => void): void {
    const request = decodeRequest(bytes);
    const runner = request === undefined ? undefined : this.owner.group(request.group);
    if (request === undefined || runner === undefined || request.from < 1 || request.to < request.from) {
      reply(encodeEntries({ entries: [], next: 0, commit: 0, gone: true }));
      return;
    }
    const { commit, lastIndex } = runner.raft;
    // 0: there may have been more than it knows of.
    const next = runner.voteUnsafe || runner.termsUnknown ? 0 : lastIndex + 1;
    this.owner.wal.readEntries(runner.id, request.from, request.to, BATCH_BYTES, (entries) => {
      reply(encodeEntries({ entries: entries ?? [], next, commit, gone: entries === undefined }));
    });
  }
}
