// What all workloads of a scenario have in common: one stream, clients that publish to it and consume from it, and the history of that.
// A workload (workloads.ts) adds what is special about its stream and says in the end what the stream must hold.
import { CHECKERS } from '../checkers/checkers.ts';
import { type Event, eventsOf, type Finding, type History } from '../checkers/history.ts';
import type { Prng } from './prng.ts';
import { type Outcome, SimClient } from './sim-client.ts';
import type { SimNode, World } from './world.ts';

export const REQUEST_MS = 2_500;
const PULL_MS = 900;
const NOT_ACKED_SHARE = 0.1;
const RETRIES_MAX = 20;
const EQUAL_AGAIN_MS = 10_000;

/** The run as its workloads see it. */
export interface Run {
  readonly world: World;
  /** Clients go on with new messages. */
  readonly publishing: boolean;
  /** Faults strike; clients misbehave a little, too. */
  readonly faulty: boolean;
  /** More clocks than promised were wrong: the duplicate window may have been cut short, and age removes too early. */
  readonly clocksFail: boolean;
  /** Nodes are stopped on purpose, one after the other, and nothing else goes wrong: no publish through another node fails. */
  readonly isGentle: boolean;
  /** Becomes part of the trace. */
  record(event: Event): void;
  /** A publish was acknowledged to a client at this moment. */
  acked(): void;
  /** An API request in calm times, repeated until it is answered well. */
  call(subject: string, body: unknown): void;
}

interface PubAck {
  seq: number;
  duplicate?: boolean;
  error?: ApiProblem;
}

export interface ApiProblem {
  err_code: number;
  description: string;
}

export interface PublisherOptions {
  number: number;
  host: SimNode;
  /** Retries under a message id until it is acknowledged. */
  withIds: boolean;
  gapMs: number;
  subject: (n: number) => string;
}

export class StreamLoad {
  readonly name: string;
  readonly replicas: number;
  readonly stride: number;
  readonly events: Event[] = [];
  protected readonly run: Run;
  protected readonly world: World;
  readonly #contents = new Map<string, Extract<Event, { kind: 'sent' }>>();

  constructor(run: Run, name: string, replicas: number, stride = 1) {
    this.run = run;
    this.world = run.world;
    this.name = name;
    this.replicas = replicas;
    this.stride = stride;
  }

  // ---- to be given by workloads

  setUp(): void {
    this.createStream({});
  }

  start(): void {}

  /** Besides equal replicas: what must have happened after healing. */
  isDone(): boolean {
    return true;
  }

  /** What the final history says beyond its events. */
  protected judge(): Partial<History> {
    return {};
  }

  protected more(_history: History): Finding[] {
    return [];
  }

  // ---- set-up

  protected get subjects(): string {
    return `${this.name.toLowerCase()}.>`;
  }

  protected createStream(config: Record<string, unknown>): void {
    const { name, replicas } = this;
    this.run.call(`$JS.API.STREAM.CREATE.${name}`, this.config({ ...config, num_replicas: replicas }));
  }

  protected config(config: Record<string, unknown>): Record<string, unknown> {
    return { name: this.name, subjects: [this.subjects], duplicate_window: 120e9, ...config };
  }

  protected createConsumer(name: string): void {
    this.run.call(`$JS.API.CONSUMER.DURABLE.CREATE.${this.name}.${name}`, {
      stream_name: this.name,
      config: {
        durable_name: name,
        ack_policy: 'explicit',
        ack_wait: 3e9,
        max_deliver: -1,
        deliver_policy: 'all',
        replay_policy: 'instant',
        max_ack_pending: 200,
      },
    });
  }

  protected client(name: string, host: SimNode): SimClient {
    return new SimClient(`${this.name}-${name}`, this.world.scheduler, host);
  }

  protected host(n: number): SimNode {
    return this.world.nodes[n % this.world.nodes.length];
  }

  protected chance(name: string): Prng {
    return this.world.prng.stream(`${this.name} ${name}`);
  }

  protected record(event: Event): void {
    this.events.push(event);
    if (event.kind === 'sent') this.#contents.set(event.id, event);
    this.run.record(event);
  }

  protected sentAs(id: string): Extract<Event, { kind: 'sent' }> | undefined {
    return this.#contents.get(id);
  }

  // ---- clients

  protected publisher(options: PublisherOptions): void {
    const { number, host, withIds, gapMs } = options;
    const { scheduler } = this.world;
    const client = this.client(`p${number}`, host);
    const chance = this.chance(`publisher ${number}`);
    let count = 0;
    const next = (): void => {
      if (!this.run.publishing) return;
      const n = count++;
      send(n, 0);
      scheduler.after(chance.float() * gapMs, next);
    };
    const send = (n: number, attempt: number): void => {
      const id = `p${number}.${n}.${attempt}`;
      const msgId = withIds ? `p${number}.${n}` : '';
      const content = `${withIds ? msgId : id}${'.'.repeat(Math.floor((n % 7) * 40))}`;
      const subject = options.subject(n);
      this.record({ kind: 'sent', at: scheduler.nowMs, client: number, id, msgId, subject, content });
      client.request(subject, content, withIds ? { 'Nats-Msg-Id': msgId } : {}, REQUEST_MS, (outcome) => {
        const settled = this.settle(id, outcome);
        if (!settled && withIds && attempt < RETRIES_MAX) {
          scheduler.after(50 + chance.float() * 200, () => send(n, attempt + 1));
        }
      });
    };
    next();
  }

  /** True: acknowledged. */
  protected settle(id: string, outcome: Outcome): boolean {
    const at = this.world.scheduler.nowMs;
    if (outcome.kind === 'no-responders') {
      this.record({ kind: 'refused', at, id, error: 503 });
      return false;
    }
    const answer = outcome.kind === 'reply' ? (JSON.parse(outcome.text) as PubAck) : undefined;
    if (answer === undefined || answer.error?.err_code === 10008) {
      this.record({ kind: 'unknown', at, id });
      return false;
    }
    if (answer.error !== undefined) {
      this.world.count(`publish refused ${answer.error.err_code}`);
      this.record({ kind: 'refused', at, id, error: answer.error.err_code });
      return false;
    }
    this.record({ kind: 'acked', at, id, seq: answer.seq, duplicate: answer.duplicate === true });
    if (answer.duplicate === true) this.world.count('recognised as a duplicate');
    this.run.acked();
    return true;
  }

  /** Pulls, and acknowledges with confirmation; now and then not at all, while faults strike. */
  protected worker(consumer: string, number: number, host: SimNode): void {
    const { scheduler } = this.world;
    const client = this.client(`${consumer}${number}`, host);
    const chance = this.chance(`worker ${consumer} ${number}`);
    client.onMessage = (_subject, reply, hdr, content) => {
      const delivery = deliveryOf(reply, hdr);
      if (delivery === undefined) return;
      const { seq, deliveries } = delivery;
      const leftAt = this.world.handedOutMs.get(reply)!;
      this.record({ kind: 'delivered', at: scheduler.nowMs, leftAt, consumer, seq, content, deliveries });
      if (deliveries > 1) this.world.count('redelivery');
      if (this.run.faulty && chance.float() < NOT_ACKED_SHARE) return;
      this.record({ kind: 'ack-sent', at: scheduler.nowMs, consumer, seq });
      client.request(reply, '', {}, REQUEST_MS, (outcome) => {
        if (outcome.kind === 'reply') this.record({ kind: 'ack-confirmed', at: scheduler.nowMs, consumer, seq });
      });
    };
    const pull = (): void => {
      const body = JSON.stringify({ batch: 20, expires: PULL_MS * 1e6 });
      client.publish(`$JS.API.CONSUMER.MSG.NEXT.${this.name}.${consumer}`, body, {}, client.inbox());
      scheduler.after(PULL_MS + 100, pull);
    };
    pull();
  }

  /** What the leaders still have to deliver or to hear of; undefined while a partition is not led. */
  protected pendingOf(consumer: string): number | undefined {
    let sum = 0;
    let partitions = 0;
    for (const { node } of this.world.nodes) {
      for (const partition of node?.partitions.values() ?? []) {
        if (partition.streamName !== this.name || !partition.leading) continue;
        const state = partition.localConsumers().find((one) => one.name === consumer);
        if (state === undefined) continue;
        partitions++;
        sum += state.num_pending + state.num_ack_pending;
      }
    }
    return partitions >= this.stride ? sum : undefined;
  }

  // ---- the end

  /** Every replica runs, votes and has applied the same, and each partition has a leader. */
  isEqual(): boolean {
    const running = [...this.world.runningOf(this.name).values()];
    return (
      running.length === this.stride &&
      running.every(
        ({ applied, isLed, hasItsVoters }) =>
          isLed && hasItsVoters && applied.length === this.replicas && applied.every((index) => index === applied[0]),
      )
    );
  }

  describe(): string {
    const running = [...this.world.runningOf(this.name)].map(
      ([partition, { applied, isLed, hasItsVoters }]) =>
        `${partition}: ${isLed ? 'led' : 'not led'}, its voters ${hasItsVoters ? 'are' : 'are not'} its replicas, ${applied.join('/')}`,
    );
    return `${this.name}: ${running.join(', ')}, done ${this.isDone()}`;
  }

  findings(): string[] {
    // While other streams were read, a leader may have handed over.
    this.world.scheduler.runUntilTrue(() => this.isEqual(), { timeoutMs: EQUAL_AGAIN_MS });
    const all = this.world.replicas(this.name, this.stride);
    const findings: string[] = [];
    for (let partition = 0; partition < this.stride; partition++) {
      const replicas = all.filter((replica) => replica.partition === partition);
      if (replicas.length !== this.replicas) findings.push(`${this.name}: ${replicas.length} replicas after healing`);
      if (replicas.length === 0) continue;
      const history: History = {
        events: eventsOf(this.events, this.stride, partition),
        replicas,
        removed: new Set(),
        drained: [],
        inSendOrder: true,
        ...this.judge(),
      };
      for (const [name, check] of Object.entries(CHECKERS)) {
        // With more wrong clocks than promised the duplicate window may end early, and that is all.
        if (name === 'duplicate' && this.run.clocksFail) continue;
        for (const { check: what, text } of check(history)) findings.push(`${what}: ${this.name}: ${text}`);
      }
      for (const { check: what, text } of this.more(history)) findings.push(`${what}: ${this.name}: ${text}`);
    }
    return findings;
  }
}

/** The place of a delivered message, from its reply subject; undefined for status frames. */
export function deliveryOf(
  reply: string,
  hdr: string,
): { consumer: string; deliveries: number; seq: number; consumerSeq: number } | undefined {
  const tokens = reply.split('.');
  if (hdr.startsWith('NATS/1.0 ') || tokens[1] !== 'ACK') return undefined;
  return {
    consumer: tokens[3],
    deliveries: Number(tokens[4]),
    seq: Number(tokens[5]),
    consumerSeq: Number(tokens[6]),
  };
}
