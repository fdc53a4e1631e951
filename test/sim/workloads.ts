// The workloads of the whole-cluster scenario, one stream each: what its clients do, and what the stream must hold in the end. Every run
// has the log; the seed draws which others run beside it.
import type { Finding, History } from '../checkers/history.ts';
import { ordered } from './ordered-reader.ts';
import type { SimNode } from './sim-node.ts';
import { type ApiProblem, REQUEST_MS, type Run, StreamLoad } from './stream-load.ts';

const WRONG_LAST_SEQ = 10071;
const NO_SUCH_SEQ = 10043;
const STREAM_NOT_FOUND = 10059;
const NO_MESSAGE = 10037;
/** After this a request whose outcome is unknown has had its effect, or never will. */
const UNKNOWN_SETTLES_MS = 12_000;
/** Least number of messages that any update leaves per subject. */
const KEPT_MIN = 8;
/** And in all. */
const ALL_KEPT_MIN = 30;

interface Answer {
  error?: ApiProblem;
  message?: { seq: number };
  success?: boolean;
  purged?: number;
}

/** 0: there is no such message; undefined: no answer to that. */
function apiSeq(text: string): number | undefined {
  const answer = JSON.parse(text) as Answer;
  return answer.error?.err_code === NO_MESSAGE ? 0 : answer.message?.seq;
}

function directSeq(hdr: string): number | undefined {
  if (hdr.startsWith('NATS/1.0 404')) return 0;
  const seq = /Nats-Sequence: (\d+)/.exec(hdr)?.[1];
  return seq === undefined ? undefined : Number(seq);
}

/** Publishers with and without ids, writers that compete by compare-and-set, readers, a consumer, an ordered reader. */
export class LogLoad extends StreamLoad {
  #lastOrdered: () => number = () => 0;

  override setUp(): void {
    // An hour is never over, unless a wrong clock is believed.
    this.createStream({ allow_direct: true, ...(this.run.clocksFail ? {} : { max_age: 3600e9 }) });
    this.createConsumer('work');
  }

  override start(): void {
    const small = this.replicas !== 3;
    for (let c = 0; c < (small ? 2 : 4); c++) {
      const subject = (n: number): string => `${this.name.toLowerCase()}.${c}.${n % 5}`;
      this.publisher({ number: c, host: this.host(c), withIds: c % 2 === 0, gapMs: 60, subject });
    }
    for (let w = 0; w < (small ? 1 : 2); w++) this.worker('work', w, this.host(w + 1));
    if (small) return;
    for (let c = 0; c < 2; c++) this.#casWriter(10 + c, this.host(c + 1));
    for (let c = 0; c < 3; c++) this.#reader(c, this.host(c));
    const reader = ordered(this.run, this.name, this.client('ordered', this.host(0)), (event) => this.record(event));
    this.#lastOrdered = () => reader.lastSeq;
  }

  /** Writers that contend for a few keys: each write names the seq that it believes to be the key's last. */
  #casWriter(number: number, host: SimNode): void {
    const { scheduler } = this.world;
    const client = this.client(`c${number}`, host);
    const chance = this.chance(`cas ${number}`);
    const believed = [0, 0, 0];
    let count = 0;
    const next = (): void => {
      if (!this.run.publishing) return;
      const key = Math.floor(chance.float() * believed.length);
      const expected = believed[key];
      const id = `c${number}.${count++}`;
      const subject = `s.key.${key}`;
      const at = scheduler.nowMs;
      this.record({ kind: 'sent', at, client: number, id, msgId: '', subject, content: id, expected });
      const headers = { 'Nats-Expected-Last-Subject-Sequence': String(expected) };
      client.request(subject, id, headers, REQUEST_MS, (outcome) => {
        if (this.settle(id, outcome)) this.world.count('compare-and-set won');
        const answer = outcome.kind === 'reply' ? (JSON.parse(outcome.text) as Answer & { seq: number }) : undefined;
        if (answer?.error?.err_code === WRONG_LAST_SEQ) {
          this.world.count('compare-and-set lost');
          believed[key] = Number(/\d+$/.exec(answer.error.description)?.[0] ?? 0);
        } else if (answer !== undefined && answer.error === undefined) believed[key] = answer.seq;
        scheduler.after(20 + chance.float() * 100, next);
      });
    };
    next();
  }

  /** Asks on without waiting for answers, so that some questions reach a leader that was replaced meanwhile. */
  #reader(number: number, host: SimNode): void {
    const { scheduler } = this.world;
    const client = this.client(`reader${number}`, host);
    const chance = this.chance(`reader ${number}`);
    const isDirect = number % 2 === 0;
    const api = `$JS.API.${isDirect ? 'DIRECT.GET' : 'STREAM.MSG.GET'}.${this.name}`;
    const next = (): void => {
      if (!this.run.publishing) return;
      const subject = `s.key.${Math.floor(chance.float() * 3)}`;
      const at = scheduler.nowMs;
      client.request(api, JSON.stringify({ last_by_subj: subject }), {}, 6000, (outcome) => {
        const seq = outcome.kind !== 'reply' ? undefined : isDirect ? directSeq(outcome.hdr) : apiSeq(outcome.text);
        if (seq === undefined) return;
        this.world.count(isDirect ? 'direct read' : 'read');
        this.record({ kind: 'read', at, until: scheduler.nowMs, subject, seq });
      });
      scheduler.after(50 + chance.float() * 300, next);
    };
    next();
  }

  override isDone(): boolean {
    if (this.pendingOf('work') !== 0) return false;
    return this.replicas !== 3 || this.#lastOrdered() === this.#lastStored();
  }

  #lastStored(): number {
    for (const { node } of this.world.nodes)
      for (const partition of node?.partitions.values() ?? [])
        if (partition.streamName === this.name && partition.leading) return partition.localState().last_seq;
    return -1;
  }

  protected override judge(): Partial<History> {
    const drained = this.isDone();
    if (this.replicas !== 3) return { drained: drained ? ['work'] : [] };
    return { drained: drained ? ['work', 'ordered'] : [], ordered: ['ordered'] };
  }
}

/** Messages leave when all consumers have acknowledged them: a work queue with one, interest with two. */
export class AckedLoad extends StreamLoad {
  readonly #retention: 'workqueue' | 'interest';
  readonly #consumers: readonly string[];

  constructor(run: Run, name: string, retention: 'workqueue' | 'interest', partitions = 1) {
    super(run, name, 3, partitions);
    this.#retention = retention;
    this.#consumers = retention === 'workqueue' ? ['jobs'] : ['one', 'two'];
  }

  override setUp(): void {
    const metadata = this.stride > 1 ? { 'flotilla.partitions': String(this.stride) } : undefined;
    this.createStream({ retention: this.#retention, metadata });
    for (const consumer of this.#consumers) this.createConsumer(consumer);
  }

  override start(): void {
    for (let c = 0; c < 2; c++) {
      const subject = (n: number): string => `${this.name.toLowerCase()}.${n % (3 * this.stride)}`;
      this.publisher({ number: c, host: this.host(c), withIds: c === 0, gapMs: 80, subject });
    }
    for (const consumer of this.#consumers) for (let w = 0; w < 2; w++) this.worker(consumer, w, this.host(w + 1));
  }

  override isDone(): boolean {
    return this.#consumers.every((consumer) => this.pendingOf(consumer) === 0);
  }

  protected override judge(): Partial<History> {
    const acked = (kind: 'ack-sent' | 'ack-confirmed'): Set<number> => {
      const by = this.#consumers.map(
        (consumer) =>
          new Set(
            this.events
              .filter((event) => event.kind === kind && event.consumer === consumer)
              .map((event) => ('seq' in event ? event.seq : 0)),
          ),
      );
      return new Set([...by[0]].filter((seq) => by.every((seqs) => seqs.has(seq))));
    };
    return {
      removed: acked('ack-sent'),
      gone: acked('ack-confirmed'),
      removedByAcks: true,
      drained: this.isDone() ? this.#consumers : [],
    };
  }
}

interface Removal {
  at: number;
  /** Confirmed at; infinite while its outcome is unknown. */
  until: number;
  seq?: number;
  filter?: string;
  below?: number;
  keep?: number;
}

/** Messages are deleted one by one and purged by subject, seq and count. */
export class RemovalLoad extends StreamLoad {
  readonly #removals: Removal[] = [];

  override start(): void {
    for (let c = 0; c < 2; c++) {
      const subject = (n: number): string => `${this.name.toLowerCase()}.${n % 3}`;
      this.publisher({ number: c, host: this.host(c), withIds: c === 0, gapMs: 70, subject });
    }
    this.#remover(this.host(2));
  }

  #remover(host: SimNode): void {
    const { scheduler } = this.world;
    const client = this.client('remover', host);
    const chance = this.chance('remover');
    const next = (): void => {
      if (!this.run.publishing) return;
      const acked = this.events.filter((event) => event.kind === 'acked');
      scheduler.after(100 + chance.float() * 600, next);
      if (acked.length === 0) return;
      const { seq } = acked[Math.floor(chance.float() * acked.length)];
      const kind = chance.float();
      const removal: Removal = { at: scheduler.nowMs, until: Number.POSITIVE_INFINITY };
      const filter = `${this.name.toLowerCase()}.${Math.floor(chance.float() * 3)}`;
      if (kind < 0.7) removal.seq = seq;
      else if (kind < 0.8) removal.filter = filter;
      else if (kind < 0.9) Object.assign(removal, { filter, below: seq });
      else Object.assign(removal, { keep: 30, filter: kind < 0.95 ? undefined : this.subjects });
      this.#removals.push(removal);
      const { filter: of, below, keep } = removal;
      const [subject, body] =
        removal.seq !== undefined
          ? [`$JS.API.STREAM.MSG.DELETE.${this.name}`, { seq: removal.seq }]
          : [`$JS.API.STREAM.PURGE.${this.name}`, { filter: of, seq: below, keep }];
      client.request(subject, JSON.stringify(body), {}, 6000, (outcome) => {
        const answer = outcome.kind === 'reply' ? (JSON.parse(outcome.text) as Answer) : undefined;
        const wasGone = answer?.error?.err_code === NO_SUCH_SEQ || answer?.error?.err_code === NO_MESSAGE;
        if (answer?.success !== true && !wasGone) return;
        removal.until = scheduler.nowMs;
        if (of === this.subjects) this.world.count('stream purged by a wildcard, some kept');
        this.world.count(removal.seq !== undefined ? 'message deleted' : 'stream purged');
      });
    };
    scheduler.after(500, next);
  }

  protected override judge(): Partial<History> {
    const removed = new Set<number>();
    const gone = new Set<number>();
    // A duplicate is acknowledged with the seq of a message that an earlier attempt may have stored, and a purge removed, before.
    const firstSent = new Map<string, number>();
    for (const event of this.events)
      if (event.kind === 'sent' && event.msgId !== '' && !firstSent.has(event.msgId))
        firstSent.set(event.msgId, event.at);
    for (const event of this.events) {
      if (event.kind !== 'acked') continue;
      const sent = this.sentAs(event.id);
      const sentAt = firstSent.get(sent?.msgId ?? '') ?? sent?.at ?? 0;
      for (const removal of this.#removals) {
        const isNamed =
          removal.seq !== undefined
            ? removal.seq === event.seq
            : (removal.filter === undefined || removal.filter === this.subjects || removal.filter === sent?.subject) &&
              (removal.below === undefined || event.seq < removal.below);
        if (!isNamed || sentAt > removal.until) continue;
        removed.add(event.seq);
        const isSure = removal.keep === undefined && event.at < removal.at && removal.until < Number.POSITIVE_INFINITY;
        if (isSure) gone.add(event.seq);
      }
    }
    return { removed, gone };
  }
}

/** A stream that is deleted and created again under its name: nothing of an earlier one is ever seen in a later one. */
export class NamesakeLoad extends StreamLoad {
  #generation = 0;
  #isSettled = false;

  override start(): void {
    this.#publish(this.client('owner', this.host(1)), this.chance('owner'), 0);
  }

  #publish(client: ReturnType<StreamLoad['client']>, chance: ReturnType<StreamLoad['chance']>, n: number): void {
    const { scheduler } = this.world;
    this.#isSettled = true;
    if (!this.run.publishing) return;
    if (n >= 25) {
      this.#isSettled = false;
      this.#ask(client, 'DELETE', undefined, STREAM_NOT_FOUND, () => {
        this.world.count('stream deleted');
        this.#generation++;
        const body = this.config({ num_replicas: this.replicas });
        this.#ask(client, 'CREATE', body, 0, () => this.#publish(client, chance, 0));
      });
      return;
    }
    const id = `g${this.#generation}.${n}`;
    const subject = `${this.name.toLowerCase()}.${n % 3}`;
    const at = scheduler.nowMs;
    this.record({ kind: 'sent', at, client: this.#generation, id, msgId: id, subject, content: id });
    client.request(subject, id, { 'Nats-Msg-Id': id }, REQUEST_MS, (outcome) => {
      this.settle(id, outcome);
      scheduler.after(chance.float() * 40, () => this.#publish(client, chance, n + 1));
    });
  }

  /** Until it is confirmed. What is unknown may still happen: nothing else is asked before it must have. */
  #ask(client: ReturnType<StreamLoad['client']>, verb: string, body: unknown, fine: number, then: () => void): void {
    const { scheduler } = this.world;
    const text = body === undefined ? '' : JSON.stringify(body);
    client.request(`$JS.API.STREAM.${verb}.${this.name}`, text, {}, 6000, (outcome) => {
      const answer = outcome.kind === 'reply' ? (JSON.parse(outcome.text) as Answer) : undefined;
      const code = answer?.error?.err_code;
      if (answer !== undefined && (code === undefined || code === fine)) {
        then();
        return;
      }
      const isUnknown = answer === undefined ? outcome.kind === 'unknown' : code === 10008;
      const pauseMs = isUnknown ? UNKNOWN_SETTLES_MS : 300;
      scheduler.after(pauseMs, () => this.#ask(client, verb, body, fine, then));
    });
  }

  override isDone(): boolean {
    return this.#isSettled;
  }

  /** Of earlier generations nothing is left, neither messages nor seqs. */
  protected override judge(): Partial<History> {
    const own = `g${this.#generation}.`;
    const isOwn = (id: string): boolean => id.startsWith(own);
    return { events: this.events.filter((event) => !('id' in event) || isOwn(event.id)) };
  }

  protected override more(history: History): Finding[] {
    const acked = new Set(this.events.filter((event) => event.kind === 'acked').map((event) => event.id));
    const findings: Finding[] = [];
    for (const replica of history.replicas)
      for (const { seq, content } of replica.messages)
        if (acked.has(content) && !content.startsWith(`g${this.#generation}.`))
          findings.push({ check: 'came-back', text: `${replica.node}: seq ${seq} is ${content}, of a deleted stream` });
    return findings;
  }
}

/** A stream whose configuration changes while it is used. */
export class UpdateLoad extends StreamLoad {
  #update = 0;

  override start(): void {
    for (let c = 0; c < 2; c++) {
      const subject = (n: number): string => `${this.name.toLowerCase()}.${n % 4}`;
      this.publisher({ number: c, host: this.host(c + 1), withIds: c === 0, gapMs: 60, subject });
    }
    const { scheduler } = this.world;
    const client = this.client('admin', this.host(0));
    const chance = this.chance('admin');
    const next = (): void => {
      if (!this.run.publishing) return;
      const kept = [-1, 20, KEPT_MIN][Math.floor(chance.float() * 3)];
      const all = [-1, -1, 10 * ALL_KEPT_MIN, ALL_KEPT_MIN][Math.floor(chance.float() * 4)];
      const body = this.config({
        num_replicas: 3,
        max_msgs: all,
        max_msgs_per_subject: kept,
        description: `update ${this.#update++}`,
        subjects: chance.float() < 0.5 ? [this.subjects] : [this.subjects, `${this.name.toLowerCase()}x.>`],
      });
      client.request(`$JS.API.STREAM.UPDATE.${this.name}`, JSON.stringify(body), {}, 6000, (outcome) => {
        if (outcome.kind === 'reply' && !outcome.text.includes('"error"')) this.world.count('stream updated');
        scheduler.after(200 + chance.float() * 1500, next);
      });
    };
    next();
  }

  /** Only limits remove messages, and never so that less is left than KEPT_MIN of a subject and ALL_KEPT_MIN in all. */
  protected override judge(): Partial<History> {
    const removed = new Set<number>();
    // Publishes of unknown outcome may be stored, too.
    const later = new Map<string, number>();
    let laterInAll = 0;
    for (const event of this.events) {
      if (event.kind !== 'unknown') continue;
      const subject = this.sentAs(event.id)?.subject ?? '';
      later.set(subject, (later.get(subject) ?? 0) + 1);
      laterInAll++;
    }
    const acks = this.events.filter((event) => event.kind === 'acked').sort((a, b) => b.seq - a.seq);
    for (const { id, seq, duplicate } of acks) {
      const subject = this.sentAs(id)?.subject ?? '';
      const count = later.get(subject) ?? 0;
      if (count >= KEPT_MIN || laterInAll >= ALL_KEPT_MIN) removed.add(seq);
      if (duplicate) continue;
      later.set(subject, count + 1);
      laterInAll++;
    }
    return { removed };
  }
}
