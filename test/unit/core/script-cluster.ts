// A cluster of cores under the full control of a script: no chance, time moves only by command, messages wait in a queue until
// they are delivered, disks may be slow. Everything that happens is written to `lines`. Used by scripts.test.ts.
import { Common } from '../../../cluster/core/common.ts';
import { isVote } from '../../../cluster/core/election.ts';
import { defaultLimits, type Limits } from '../../../cluster/core/limits.ts';
import { Raft, type RaftOptions } from '../../../cluster/core/raft.ts';
import type {
  HardState,
  Index,
  LogEntry,
  Membership,
  PeerId,
  RaftMessage,
  Ready,
  SnapshotMeta,
  Term,
} from '../../../cluster/core/types.ts';
import { EntryKind } from '../../../cluster/core/types.ts';

interface Disk {
  hardState: HardState;
  snapshot: SnapshotMeta | undefined;
  entries: LogEntry[];
}

interface PendingSync {
  ready: Ready;
  lastIndex: Index;
  lastTerm: Term;
}

interface ScriptNode {
  id: PeerId;
  raft: Raft;
  alive: boolean;
  preferred: boolean;
  mayVote: boolean;
  genesis: Membership;
  /** What the process sees, and what a crash leaves. */
  memory: Disk;
  durable: Disk;
  slow: boolean;
  pending: PendingSync[];
  applied: Index;
  seen: string;
}

const NO_BYTES = new Uint8Array(0);
const LABELS = 'abcdefghijklmnopqrstuvwxyz';

function copyOf(disk: Disk): Disk {
  return { hardState: { ...disk.hardState }, snapshot: disk.snapshot, entries: [...disk.entries] };
}

function appendTo(disk: Disk, entries: readonly LogEntry[]): void {
  if (entries.length === 0) return;
  disk.entries = [...disk.entries.filter(({ index }) => index < entries[0].index), ...entries];
}

function members(membership: Membership): string {
  const learners = membership.learners.length === 0 ? '' : ` learners ${membership.learners.join(' ')}`;
  return `voters ${membership.voters.join(' ')}${learners}`;
}

function entryText(entry: LogEntry): string {
  const at = `${entry.index}/${entry.term}`;
  if (entry.kind === EntryKind.noop) return `${at} noop`;
  if (entry.membership !== undefined) return `${at} ${members(entry.membership)}`;
  return `${at} "${String.fromCharCode(entry.crc)}"`;
}

export class ScriptCluster {
  readonly lines: string[] = [];
  nowMs = 0;
  private readonly nodes = new Map<PeerId, ScriptNode>();
  private queue: RaftMessage[] = [];
  private readonly cut = new Set<string>();
  private limits: Partial<Limits> = {};
  /** Idle heartbeats and ticks are not worth a line. */
  private terse = false;
  private silent = false;
  private nextContext = 1;

  private say(text: string): void {
    if (!this.silent) this.lines.push(`  ${text}`);
  }

  private node(id: string | PeerId): ScriptNode {
    const node = this.nodes.get(Number(id));
    if (node === undefined) throw new Error(`no node ${id}`);
    return node;
  }

  /** Runs one line of a script. */
  run(line: string): void {
    const [command, ...args] = line.split(/\s+/);
    const act = this.commands[command];
    if (act === undefined) throw new Error(`no command "${command}"`);
    this.lines.push(`> ${line}`);
    act(args);
    this.noteRoles();
  }

  private readonly commands: Record<string, (args: string[]) => void> = {
    /** nodes <id>.. [learners <id>..] [preferred <id>] */
    nodes: (args) => {
      const { rest, named } = split(args, ['learners', 'preferred']);
      const genesis = { voters: rest, learners: named.learners };
      for (const id of [...rest, ...named.learners]) this.create(id, genesis, named.preferred.includes(id));
    },
    /** node <id> voters <id>..: one that is not a member */
    node: (args) => {
      const { rest, named } = split(args, ['voters']);
      this.create(rest[0], { voters: named.voters, learners: [] }, false);
    },
    /** log <id> term <t> vote <v> terms <t>..: starts the node again with such a log */
    log: (args) => {
      const { rest, named } = split(args, ['term', 'vote', 'terms']);
      const node = this.node(rest[0]);
      node.durable.hardState = { term: named.term[0], vote: named.vote[0] ?? 0 };
      node.durable.entries = named.terms.map((term, i) => {
        return { index: i + 1, term, kind: EntryKind.batch, body: NO_BYTES, crc: LABELS.charCodeAt(i) };
      });
      this.boot(node);
    },
    /** limits <name> <value>..: of nodes created later */
    limits: (args) => {
      for (let i = 0; i < args.length; i += 2) this.limits = { ...this.limits, [args[i]]: Number(args[i + 1]) };
    },
    /** elect <id>: an undisturbed election, without a trace */
    elect: ([id]) => {
      this.silent = true;
      this.node(id).raft.campaign(this.nowMs);
      this.settle();
      this.silent = false;
    },
    campaign: ([id]) => this.node(id).raft.campaign(this.nowMs),
    propose: ([id, label]) => {
      const at = this.node(id).raft.propose(EntryKind.batch, NO_BYTES, label.charCodeAt(0));
      this.say(at === undefined ? `${id} refuses` : `${id} will append ${at.index}/${at.term}`);
    },
    membership: (args) => {
      const { rest, named } = split(args, ['voters', 'learners']);
      const to = { voters: named.voters, learners: named.learners };
      const index = this.node(rest[0]).raft.proposeMembership(to);
      this.say(index === undefined ? `${rest[0]} refuses` : `${rest[0]} will append ${index}`);
    },
    transfer: ([from, to]) => this.node(from).raft.transferLeadership(Number(to), this.nowMs),
    read: ([id]) => {
      const context = this.nextContext++;
      this.say(`${id} asks read #${context}`);
      this.node(id).raft.readIndex(context, this.nowMs);
    },
    wake: ([id]) => this.node(id).raft.wake(this.nowMs),
    /** down <id> <peer>: the host of <id> lost its link to <peer> */
    down: ([id, peer]) => this.node(id).raft.peerDown(Number(peer), this.nowMs),
    /** up <id> <peer>: and has it again */
    up: ([id, peer]) => this.node(id).raft.peerUp(Number(peer), this.nowMs),
    mayvote: ([id, yes]) => {
      const node = this.node(id);
      node.mayVote = yes === 'yes';
      node.raft.setMayVote(node.mayVote);
    },
    /** advance <ms>: time passes; nodes tick when they are due; nothing is delivered */
    advance: ([ms]) => this.advance(Number(ms)),
    /** run <ms>: time passes and everything that can happen happens; idle heartbeats are not shown */
    run: ([ms]) => {
      const end = this.nowMs + Number(ms);
      this.terse = true;
      for (;;) {
        this.settle();
        const due = this.nextDue();
        if (due > end) break;
        this.advance(Math.max(0, due - this.nowMs));
      }
      this.nowMs = end;
      this.terse = false;
    },
    /** process [<id>..]: each takes its Ready and does as it says */
    process: (args) => {
      for (const id of args.length > 0 ? args : this.nodes.keys()) this.process(this.node(id));
    },
    /** deliver [<from>><to>]..: what is in the queue now */
    deliver: (args) => this.deliver(args),
    drop: (args) => {
      for (const message of this.take(args)) this.say(`lost ${messageText(message)}`);
    },
    /** settle: process and deliver until nothing is left to do */
    settle: () => this.settle(),
    slow: ([id]) => {
      this.node(id).slow = true;
    },
    /** sync <id>: its disk is fast again and everything written becomes durable */
    sync: ([id]) => {
      this.node(id).slow = false;
      this.sync(this.node(id));
    },
    cut: (args) => {
      for (const link of args) this.cut.add(link);
    },
    isolate: ([id]) => {
      for (const other of this.nodes.keys()) {
        this.cut.add(`${id}>${other}`);
        this.cut.add(`${other}>${id}`);
      }
    },
    heal: () => this.cut.clear(),
    crash: ([id]) => {
      const node = this.node(id);
      node.alive = false;
      node.pending = [];
    },
    restart: ([id]) => this.boot(this.node(id)),
    /** compact <id>: its host saves a snapshot of what is applied and drops the log below it */
    compact: ([id]) => {
      const node = this.node(id);
      const index = node.applied;
      const meta = { index, term: node.raft.termOf(index)!, membership: node.raft.membershipAt(index) };
      for (const disk of [node.memory, node.durable]) {
        disk.snapshot = meta;
        disk.entries = disk.entries.filter((entry) => entry.index > index);
      }
      node.raft.compacted(index + 1);
    },
    /** transferred <from> <to>: the host of <to> was given the snapshot of <from> */
    transferred: ([from, to]) => this.transferSnapshot(this.node(from), this.node(to)),
    'transfer-failed': ([from, to]) => this.node(from).raft.snapshotFailed(Number(to)),
    status: () => {
      for (const node of this.nodes.values()) this.status(node);
    },
  };

  private create(id: PeerId, genesis: Membership, preferred: boolean): void {
    const empty: Disk = { hardState: { term: 0, vote: 0 }, snapshot: undefined, entries: [] };
    const node: ScriptNode = {
      id,
      raft: undefined as unknown as Raft,
      alive: false,
      preferred,
      mayVote: true,
      genesis,
      memory: copyOf(empty),
      durable: empty,
      slow: false,
      pending: [],
      applied: 0,
      seen: '',
    };
    this.nodes.set(id, node);
    this.boot(node);
  }

  private boot(node: ScriptNode): void {
    node.memory = copyOf(node.durable);
    const { snapshot, entries, hardState } = node.memory;
    const changes = entries.filter(({ membership }) => membership !== undefined);
    const latest = changes.at(-1);
    const genesis = snapshot?.membership ?? node.genesis;
    const options: RaftOptions = {
      common: new Common(node.id, { ...defaultLimits, ...this.limits }),
      group: 1,
      random: () => node.id / 10,
      nowMs: this.nowMs,
      hardState,
      snapshot,
      membership: latest?.membership ?? genesis,
      membershipIndex: latest?.index,
      previousMembership: changes.at(-2)?.membership ?? genesis,
      lastIndex: entries.at(-1)?.index ?? snapshot?.index ?? 0,
      terms: entries.map(({ index, term }) => ({ start: index, term })),
      mayVote: node.mayVote,
      preferred: node.preferred,
    };
    node.raft = new Raft(options);
    node.alive = true;
    node.pending = [];
    node.applied = snapshot?.index ?? 0;
    node.seen = this.roleOf(node);
  }

  private roleOf({ raft }: ScriptNode): string {
    const leader = raft.role === 'follower' && raft.leader !== 0 ? ` of ${raft.leader}` : '';
    return `${raft.role}${leader} in term ${raft.term}${raft.quiesced ? ', asleep' : ''}`;
  }

  private noteRoles(): void {
    for (const node of this.nodes.values()) {
      if (!node.alive) continue;
      const role = this.roleOf(node);
      if (role !== node.seen) this.say(`${node.id} is ${role} (${Math.round(this.nowMs)} ms)`);
      node.seen = role;
    }
  }

  private status({ id, alive, raft, applied }: ScriptNode): void {
    if (!alive) {
      this.say(`${id} is dead`);
      return;
    }
    const progress = raft.progress.map(({ peer, match, state }) => ` ${peer}:${state} ${match}`).join('');
    const due =
      raft.nextDeadlineMs === Number.POSITIVE_INFINITY ? 'never' : `${Math.round(raft.nextDeadlineMs - this.nowMs)} ms`;
    const log = `log ${raft.firstIndex}..${raft.lastIndex}/${raft.lastTerm} commit ${raft.commit} applied ${applied}`;
    this.say(
      `${id}: ${raft.role} term ${raft.term} vote ${raft.vote} leader ${raft.leader} ${log} ${members(raft.membership)} due ${due}${progress}`,
    );
  }

  private nextDue(): number {
    return Math.min(...[...this.nodes.values()].filter(({ alive }) => alive).map(({ raft }) => raft.nextDeadlineMs));
  }

  private advance(ms: number): void {
    const end = this.nowMs + ms;
    for (let due = this.nextDue(); due <= end; due = this.nextDue()) {
      this.nowMs = Math.max(this.nowMs, due);
      for (const node of this.nodes.values()) {
        if (!node.alive || node.raft.nextDeadlineMs > this.nowMs) continue;
        if (!this.terse) this.say(`${node.id} ticks at ${Math.round(this.nowMs)} ms`);
        node.raft.tick(this.nowMs);
        this.noteRoles();
      }
    }
    this.nowMs = end;
  }

  private process(node: ScriptNode): boolean {
    if (!node.alive || !node.raft.hasReady()) return false;
    this.noteRoles();
    const { id, raft, memory } = node;
    const ready = raft.takeReady();
    const { hardState, append, send, sendDurable, reads, snapshotTo } = ready;
    if (hardState !== undefined) {
      memory.hardState = hardState;
      this.say(`${id} writes term ${hardState.term}, vote ${hardState.vote}`);
    }
    if (append.length > 0) this.say(`${id} appends ${append.map(entryText).join(', ')}`);
    appendTo(memory, append);
    for (const message of send) this.post(node, message);
    for (const message of sendDurable) this.say(`${id} when durable: ${messageText(message)}`);
    this.apply(node, ready.commit);
    for (const { context, ok, index } of reads)
      this.say(`${id} answers read #${context}: ${ok ? `at ${index}` : 'refused'}`);
    for (const peer of snapshotTo) this.say(`${id} should send a snapshot to ${peer}`);
    if (hardState !== undefined || append.length > 0 || sendDurable.length > 0) {
      node.pending.push({ ready, lastIndex: raft.lastIndex, lastTerm: raft.lastTerm });
      if (!node.slow) this.sync(node);
    }
    return true;
  }

  private sync(node: ScriptNode): void {
    const done = node.pending;
    node.pending = [];
    for (const { ready, lastIndex, lastTerm } of done) {
      if (ready.hardState !== undefined) node.durable.hardState = ready.hardState;
      appendTo(node.durable, ready.append);
      for (const message of ready.sendDurable) this.post(node, message);
      if (ready.sendDurable.some(isVote)) node.raft.votesLeft(this.nowMs);
      node.raft.persisted(lastIndex, lastTerm);
    }
  }

  private apply(node: ScriptNode, commit: Index): void {
    const applied = node.memory.entries.filter(({ index }) => index > node.applied && index <= commit);
    if (applied.length === 0) return;
    node.applied = commit;
    this.say(`${node.id} applies ${applied.map(entryText).join(', ')}`);
  }

  private post(node: ScriptNode, message: RaftMessage): void {
    if (message.type === 'append') {
      const { first, last } = message;
      message.entries = node.memory.entries.filter(({ index }) => index >= first && index <= last);
    }
    if (!this.terse || !isIdle(message)) this.say(messageText(message));
    this.queue.push(message);
  }

  private take(links: readonly string[]): RaftMessage[] {
    const wanted = (m: RaftMessage): boolean => links.length === 0 || links.includes(`${m.from}>${m.to}`);
    const taken = this.queue.filter(wanted);
    this.queue = this.queue.filter((m) => !wanted(m));
    return taken;
  }

  private deliver(links: readonly string[]): boolean {
    const messages = this.take(links);
    for (const message of messages) {
      const node = this.nodes.get(message.to);
      if (node?.alive !== true || this.cut.has(`${message.from}>${message.to}`)) continue;
      node.raft.step(message, this.nowMs);
      this.noteRoles();
    }
    return messages.length > 0;
  }

  private settle(): void {
    for (let busy = true; busy; ) {
      busy = false;
      for (const node of this.nodes.values()) busy = this.process(node) || busy;
      busy = this.deliver([]) || busy;
    }
  }

  private transferSnapshot(from: ScriptNode, to: ScriptNode): void {
    const meta = from.memory.snapshot!;
    this.process(to);
    const answer = to.raft.acceptSnapshot(meta);
    this.say(`${to.id} is offered snapshot ${meta.index}/${meta.term}: ${answer}`);
    if (answer === 'install') {
      for (const disk of [to.memory, to.durable]) {
        disk.snapshot = meta;
        disk.entries = [];
      }
      to.raft.restoredSnapshot(meta);
      to.applied = meta.index;
    }
    from.raft.snapshotDone(to.id, meta.index);
  }
}

/** Numbers before the first of `names`, and the numbers after each name. */
function split(args: readonly string[], names: readonly string[]): { rest: number[]; named: Record<string, number[]> } {
  const named: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]));
  const rest: number[] = [];
  let list = rest;
  for (const arg of args) {
    if (names.includes(arg)) list = named[arg];
    else list.push(Number(arg));
  }
  return { rest, named };
}

function isIdle(m: RaftMessage): boolean {
  return m.type === 'heartbeat-reply' || (m.type === 'heartbeat' && !m.quiesce);
}

function messageText(m: RaftMessage): string {
  return `${m.from}>${m.to} ${m.type} t${m.term}${detailOf(m)}`;
}

function detailOf(m: RaftMessage): string {
  switch (m.type) {
    case 'pre-vote':
      return ` log ${m.lastIndex}/${m.lastTerm}`;
    case 'vote':
      return ` log ${m.lastIndex}/${m.lastTerm}${m.transfer ? ' transfer' : ''}`;
    case 'pre-vote-reply':
    case 'vote-reply':
      return m.granted ? ' yes' : ' no';
    case 'append': {
      const entries = (m.entries ?? []).map(entryText).join(', ');
      return ` after ${m.prevIndex}/${m.prevTerm} [${entries}] commit ${m.commit}${m.round > 0 ? ` round ${m.round}` : ''}`;
    }
    case 'append-reply':
      return m.ok ? ` match ${m.index}` : ` no, try ${m.index}/${m.hintTerm}`;
    case 'heartbeat':
      return ` commit ${m.commit}${m.round > 0 ? ` round ${m.round}` : ''}${m.quiesce ? ` sleep at ${m.lastIndex}` : ''}`;
    case 'heartbeat-reply':
      return m.round > 0 ? ` round ${m.round}` : '';
    case 'commit':
      return ` ${m.index}`;
    case 'timeout-now':
      return '';
    case 'read-index':
      return '';
    case 'read-index-reply':
      return m.ok ? ` at ${m.index}` : ' no';
  }
}
