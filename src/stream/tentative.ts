// What the stream will look like when everything in flight is applied: the leader decides with it which records enter the
// log, and answers nobody from it (DESIGN §4). Pure; owned by partition.ts; thrown away at step-down.
// Invariant: tentative = applied + the batches proposed and not yet applied + the batch being built. Exact for the last seq, message
// ids, the last message's id and (once tracked) subjects; what removes messages is waited for instead (partition.ts).
import { BATCH_HEADER_BYTES, CommandType, commandEnd, PublishView, readPublish, viewOf } from './batch-codec.ts';
import { KeyTable } from './key-table.ts';
import { RecentIds } from './recent-ids.ts';

const LAST = 0;
const COUNT = 2;
const WORDS = 3;
const HIGH = 4294967296;

export class Tentative {
  lastSeq = 0;
  /** Messages in flight. */
  inFlight = 0;
  /** What they take of the stream's room: one that replaces another of its subject takes less. */
  roomMessages = 0;
  roomBytes = 0;
  /** Nats-Msg-Id of the last message decided; '' when it had none. */
  lastMsgId = '';
  readonly ids: RecentIds;
  /** Subjects of new messages are counted. */
  tracksSubjects = false;
  readonly #subjects: KeyTable;
  readonly #publish = new PublishView();

  constructor(seed: number) {
    this.ids = new RecentIds(seed);
    this.#subjects = new KeyTable(WORDS, seed ^ 0x1b56c4e9);
  }

  /** Tentative = applied. */
  reset(lastSeq: number, lastMsgId: string): void {
    this.lastSeq = lastSeq;
    this.lastMsgId = lastMsgId;
    this.inFlight = 0;
    this.roomMessages = 0;
    this.roomBytes = 0;
    this.ids.clear();
    this.#subjects.clear();
    this.tracksSubjects = false;
  }

  /** One more message is in flight; its seq is the new lastSeq. */
  add(roomMessages: number, roomBytes: number): void {
    this.lastSeq++;
    this.inFlight++;
    this.roomMessages += roomMessages;
    this.roomBytes += roomBytes;
  }

  advanceTo(seq: number): void {
    if (seq > this.lastSeq) this.lastSeq = seq;
  }

  /** The subject `bytes[from, to)` of the message added last. */
  count(bytes: Uint8Array, from: number, to: number): void {
    const row = this.#subjects.findOrInsert(bytes, from, to);
    const at = this.#subjects.writableRow(row);
    const words = this.#subjects.words;
    words[at + LAST] = this.lastSeq;
    words[at + LAST + 1] = this.lastSeq / HIGH;
    words[at + COUNT] += 1;
  }

  /** Last seq in flight of the subject; 0 when there is none. */
  lastOfSubject(bytes: Uint8Array, from: number, to: number): number {
    const row = this.#subjects.find(bytes, from, to);
    if (row === 0) return 0;
    const at = this.#subjects.row(row);
    return this.#subjects.words[at + LAST] + this.#subjects.words[at + LAST + 1] * HIGH;
  }

  countOfSubject(bytes: Uint8Array, from: number, to: number): number {
    const row = this.#subjects.find(bytes, from, to);
    if (row === 0) return 0;
    const at = this.#subjects.row(row);
    return this.#subjects.words[at + COUNT];
  }

  /** A batch of this leader was applied: its messages and the room they took are no longer tentative. */
  applied(publishes: number, roomMessages: number, roomBytes: number, lastSeq: number): void {
    this.inFlight -= publishes;
    this.roomMessages -= roomMessages;
    this.roomBytes -= roomBytes;
    if (this.ids.size > 0) this.ids.dropUntilSeq(lastSeq);
  }

  /** The batch `body`, whose subjects were counted, was applied. */
  forgetSubjects(body: Uint8Array, publishes: number): void {
    const view = viewOf(body);
    const publish = this.#publish;
    let at = BATCH_HEADER_BYTES;
    for (let left = publishes; left > 0; ) {
      if (view.getUint8(at) !== CommandType.publish) {
        at = commandEnd(view, at);
        continue;
      }
      at = readPublish(view, at, publish);
      left--;
      const row = this.#subjects.find(body, publish.subjectAt, publish.subjectEnd);
      const wordsAt = this.#subjects.writableRow(row);
      const words = this.#subjects.words;
      if (words[wordsAt + COUNT] > 1) words[wordsAt + COUNT] -= 1;
      else this.#subjects.remove(row);
    }
  }
}
