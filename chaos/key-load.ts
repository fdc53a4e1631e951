// A bucket of a few thousand keys that are written, deleted, listed again and again, and watched, with both generations of the official
// client. Called by workload.ts. Invariants: a key has one writer, who waits for each write's ack (listings.ts rests on it); a list that
// fails or takes too long is counted and not judged; a watch that ended is another one when it is begun again.
import { setTimeout as pause } from 'node:timers/promises';
import { jetstream } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import type { NatsConnection as NewerConnection } from '@nats-io/transport-node';
import { headers, type JetStreamClient, type NatsConnection } from 'nats';
import type { Event } from '../test/checkers/history.ts';
import {
  ATTEMPT_MS,
  arrival,
  bodyOf,
  contentOf,
  expected,
  now,
  RETRIES_MS_MAX,
  RETRY_MS,
  settled,
} from './attempts.ts';
import type { Listing, Write } from './listings.ts';

const KEYS = 2000;
const FILLED_AT_ONCE = 250;
const WRITE_EVERY_MS = 100;
const DELETED_SHARE = 0.2;
const LIST_EVERY_MS = 1000;
const LISTING_MS_MAX = 20_000;
const BODY_BYTES = 40;

interface Iterator<T> extends AsyncIterable<T> {
  stop(): void;
}

/** What both generations have. */
interface Bucket {
  keys(): Promise<Iterator<string>>;
  watch(): Promise<Iterator<{ revision: number; value: Uint8Array }>>;
}

interface Reader {
  by: string;
  isNewer: boolean;
  open(): Promise<Bucket>;
}

/** The older generation comes first: only when nothing is lacking to it does the newer one count. */
export interface Lacking {
  why: string;
  isNewer: boolean;
}

export class KeyLoad {
  readonly writes: Write[] = [];
  readonly listings: Listing[] = [];
  /** Lists that failed. */
  unlisted = 0;
  /** Watches that ended before they were stopped. */
  unwatched = 0;
  /** Of all watches that there were. */
  readonly watches: string[] = [];
  readonly #prefix: string;
  readonly #events: Event[];
  readonly #readers: readonly Reader[];
  /** By reader, the watch that goes on. */
  readonly #watching = new Map<string, { name: string; seq: number }>();
  readonly #open = new Set<Iterator<unknown>>();
  readonly #loops: Promise<void>[] = [];
  #writing = true;
  #working = true;
  #writtenUntilMs = Number.POSITIVE_INFINITY;

  constructor(bucket: string, events: Event[], older: NatsConnection, newer: NewerConnection) {
    this.#prefix = `$KV.${bucket}.`;
    this.#events = events;
    const olderJs = older.jetstream({ timeout: ATTEMPT_MS });
    const newerJs = jetstream(newer, { timeout: ATTEMPT_MS });
    this.#readers = [
      { by: 'nats 2', isNewer: false, open: () => olderJs.views.kv(bucket, { bindOnly: true }) },
      { by: '@nats-io/kv 3', isNewer: true, open: () => new Kvm(newerJs).open(bucket) },
    ];
  }

  async start(admin: JetStreamClient, writers: readonly JetStreamClient[]): Promise<void> {
    const keys = Array.from({ length: KEYS }, (_, i) => `key.${i}`);
    for (let i = 0; i < KEYS; i += FILLED_AT_ONCE) {
      const some = keys.slice(i, i + FILLED_AT_ONCE);
      await Promise.all(some.map((key) => this.#write(admin, -1, key, true)));
    }
    for (const [lane, js] of writers.entries()) {
      const own = keys.filter((_, i) => i % writers.length === lane);
      this.#loops.push(this.#rewrite(js, lane, own));
    }
    for (const reader of this.#readers) this.#loops.push(this.#list(reader), this.#watch(reader));
  }

  stopWriting(): void {
    this.#writing = false;
    this.#writtenUntilMs = now() + ATTEMPT_MS;
  }

  async stop(): Promise<void> {
    this.#working = false;
    for (const each of this.#open) each.stop();
    await Promise.all(this.#loops);
  }

  /** Those that were not begun again. */
  get lastWatches(): string[] {
    return [...this.#watching.values()].map(({ name }) => name);
  }

  /** Undefined: each watch is at the end, and each reader has listed what nobody changes any more. */
  undrained(lastSeq: number): Lacking | undefined {
    for (const { by, isNewer } of this.#readers) {
      const watch = this.#watching.get(by);
      if (watch?.seq !== lastSeq) return { why: `the watch of ${by} is at ${watch?.seq} of ${lastSeq}`, isNewer };
      if (!this.listings.some((listing) => listing.by === by && listing.at > this.#writtenUntilMs))
        return { why: `${by} has not listed all keys since the last write`, isNewer };
    }
    return undefined;
  }

  /** One more write: the newer generation may see from that alone that it lacks the end of a stream. */
  async nudge(admin: JetStreamClient): Promise<void> {
    await this.#write(admin, -1, 'nudge', true);
  }

  // ---- writers

  async #rewrite(js: JetStreamClient, lane: number, keys: readonly string[]): Promise<void> {
    const usable = [...keys];
    const deleted = new Set<string>();
    while (this.#writing && usable.length > 0) {
      await pause(WRITE_EVERY_MS);
      const place = Math.floor(Math.random() * usable.length);
      const key = usable[place];
      const kept = deleted.has(key) || Math.random() >= DELETED_SHARE;
      // What became of the write is not certain any more, nor what the next one would find.
      if (!(await this.#write(js, lane, key, kept))) usable.splice(place, 1);
      else if (kept) deleted.delete(key);
      else deleted.add(key);
    }
  }

  /** True: acknowledged. */
  async #write(js: JetStreamClient, lane: number, key: string, kept: boolean): Promise<boolean> {
    const firstMs = now();
    const content = `keys.${lane}.${this.writes.length}`;
    const write: Write = { key, kept, sentAt: firstMs, ackedAt: Number.POSITIVE_INFINITY, seq: 0 };
    this.writes.push(write);
    const subject = this.#prefix + key;
    const body = bodyOf(content, BODY_BYTES);
    const operation = headers();
    if (!kept) operation.set('KV-Operation', 'DEL');
    let attempt = 0;
    do {
      if (attempt > 0) await pause(RETRY_MS);
      const id = `${content}#${attempt++}`;
      this.#events.push({ kind: 'sent', at: now(), client: lane, id, msgId: content, subject, content });
      const options = { msgID: content, headers: operation };
      const seq = await settled(this.#events, id, async () => await js.publish(subject, body, options));
      if (seq !== undefined) {
        write.ackedAt = now();
        write.seq = seq;
        return true;
      }
    } while (this.#writing && now() - firstMs < RETRIES_MS_MAX);
    return false;
  }

  // ---- readers

  async #list({ by, isNewer, open }: Reader): Promise<void> {
    while (this.#working) {
      const at = now();
      try {
        const keys = await this.#listed(await open());
        this.listings.push({ by, endsByHeartbeat: isNewer, at, until: now(), keys });
      } catch (error) {
        expected(error);
        this.unlisted++;
      }
      await pause(LIST_EVERY_MS);
    }
  }

  async #listed(bucket: Bucket): Promise<Set<string>> {
    const listing = await bucket.keys();
    const keys = new Set<string>();
    let isInTime = true;
    const giveUp = setTimeout(() => {
      isInTime = false;
      listing.stop();
    }, LISTING_MS_MAX);
    try {
      for await (const key of listing) keys.add(key);
    } finally {
      clearTimeout(giveUp);
    }
    if (!isInTime) throw new Error(`the list did not end within ${LISTING_MS_MAX} ms`);
    return keys;
  }

  async #watch({ by, open }: Reader): Promise<void> {
    for (let n = 1; this.#working; n++) {
      try {
        const entries = await (await open()).watch();
        const watch = { name: `${by} watch ${n}`, seq: 0 };
        this.#watching.set(by, watch);
        this.watches.push(watch.name);
        await this.#followed(entries, watch);
        if (this.#working) this.unwatched++;
      } catch (error) {
        expected(error);
        this.unwatched++;
        await pause(RETRY_MS);
      }
    }
  }

  async #followed(
    entries: Iterator<{ revision: number; value: Uint8Array }>,
    watch: { name: string; seq: number },
  ): Promise<void> {
    this.#open.add(entries);
    if (!this.#working) entries.stop();
    try {
      for await (const { revision, value } of entries) {
        const content = contentOf(value);
        const message = { consumer: watch.name, seq: revision, content, deliveries: 1 };
        this.#events.push({ kind: 'delivered', ...arrival(), ...message });
        watch.seq = revision;
      }
    } finally {
      this.#open.delete(entries);
    }
  }
}
