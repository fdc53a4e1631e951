// Which messages a partition holds and where their bytes are: message rows, the subject table and the live count of each log
// entry, all off the JS heap. Pure; owned by machine.ts, read by consumers through MessageView. Message bytes stay in
// the log (row -> entry index + offset).
// Invariants: each subject's messages form a chain first..last through their rows (a `previous` link of the first and a `next` link of
// the last mean nothing); a subject without messages is not in the table; an entry without live messages has no row.
import { FilterForms } from './filter-forms.ts';
import { KeyTable } from './key-table.ts';
import { PagedRows } from './paged-rows.ts';
import type { SnapshotReader, SnapshotWriter, Steps } from './snapshot-codec.ts';
import { SubjectCache } from './subject-cache.ts';
import type { Matcher } from './subject-matcher.ts';
import type { MessageView, SubjectFilter } from './types.ts';

const HIGH = 4294967296;

// Message row. HIGHS: entry bits 20..31, next bits 10..19, previous bits 0..9.
const SUBJECT = 0;
const ENTRY = 1;
const OFFSET = 2;
const SIZE = 3;
const NEXT = 4;
const PREVIOUS = 5;
const HIGHS = 6;
const ROW_WORDS = 7;
const LINK_MASK = 0x3ff;
// Upper bits of OFFSET.
export const KEPT_FOR_EVER = 0x80000000;
export const WITHOUT_MARKER = 0x40000000;
const OFFSET_MASK = 0x3fffffff;

// Entry row.
const LIVE = 0;
const STAMP_LOW = 1;
const STAMP_HIGH = 2;
const ENTRY_WORDS = 3;

// Subject row. SPAN_HIGHS: last's bits from 32 up (21 bits), above them how much less first's are (11 bits).
const FIRST = 0;
const LAST = 1;
const SPAN_HIGHS = 2;
const COUNT = 3;
export const SUBJECT_WORDS = 4;
const LAST_HIGH_BITS = 21;
const LAST_HIGH_MASK = (1 << LAST_HIGH_BITS) - 1;

/** What is made of a filter follows from it alone. */
const forms = new FilterForms();

/** Looks that are done at once. */
const SHORT = 20_000;
const NEWEST_LOOKS = 1_000;

export class MessageIndex implements MessageView {
  readonly #rows = new PagedRows(ROW_WORDS);
  readonly #entries = new PagedRows(ENTRY_WORDS);
  readonly #subjects: KeyTable;

  /** Lowest existing seq; lastSeq + 1 when empty. */
  firstSeq = 1;
  lastSeq = 0;
  messages = 0;
  bytes = 0;
  /** How often a subject id became free: cached ids are valid while it stands still. */
  releases = 0;

  /** The entry being applied: it gets its row when it ends. */
  #entry = 0;
  #entryLive = 0;
  #entryStampUs = 0;

  readonly #names = new SubjectCache<string>();
  /** A seq of the subject near what was asked for last. */
  readonly #hints = new SubjectCache<number>();

  constructor(seed: number) {
    this.#subjects = new KeyTable(SUBJECT_WORDS, seed);
  }

  get subjects(): number {
    return this.#subjects.size;
  }

  // ---- changes

  beginEntry(index: number, stampUs: number): void {
    this.#entry = index;
    this.#entryLive = 0;
    this.#entryStampUs = stampUs;
  }

  endEntry(): void {
    if (this.#entryLive > 0) {
      const at = this.#entries.append(this.#entry);
      const { words } = this.#entries;
      words[at + LIVE] = this.#entryLive;
      words[at + STAMP_LOW] = this.#entryStampUs;
      words[at + STAMP_HIGH] = this.#entryStampUs / HIGH;
    }
    this.#entry = 0;
    this.#entryLive = 0;
  }

  /** The next seq will be `seq` (only while nothing is stored). */
  startAt(seq: number): void {
    this.firstSeq = seq;
    this.lastSeq = seq - 1;
  }

  /** Seqs up to `seq` that were not given never will be. */
  advanceTo(seq: number): void {
    if (seq <= this.lastSeq) return;
    this.lastSeq = seq;
    if (this.messages === 0) this.firstSeq = seq + 1;
  }

  /** Id of the subject `bytes[from, to)`, made if need be; use it for `add` at once. */
  subjectId(bytes: Uint8Array, from: number, to: number): number {
    return this.#subjects.findOrInsert(bytes, from, to);
  }

  /** Stores the message lastSeq + 1. `marks`: KEPT_FOR_EVER, WITHOUT_MARKER. */
  add(subject: number, offset: number, size: number, marks = 0): void {
    const seq = ++this.lastSeq;
    const subjectAt = this.#subjects.writableRow(subject);
    const subjectWords = this.#subjects.words;
    const rows = this.#rows;
    const at = rows.append(seq);
    const { words } = rows;
    const entryHighs = ((this.#entry / HIGH) | 0) << 20;
    words[at + SUBJECT] = subject;
    words[at + ENTRY] = this.#entry;
    words[at + OFFSET] = offset | marks;
    words[at + SIZE] = size;
    words[at + HIGHS] = entryHighs;
    const count = subjectWords[subjectAt + COUNT];
    if (count === 0) {
      setSpan(subjectWords, subjectAt, seq, seq);
    } else {
      const last = lastOf(subjectWords, subjectAt);
      setSpan(subjectWords, subjectAt, firstOf(subjectWords, subjectAt), seq);
      const delta = seq - last;
      words[at + PREVIOUS] = delta;
      words[at + HIGHS] = entryHighs | ((delta / HIGH) | 0);
      this.#setNext(last, delta);
    }
    subjectWords[subjectAt + COUNT] = count + 1;
    this.messages++;
    this.bytes += size;
    this.#entryLive++;
  }

  #setNext(seq: number, delta: number): void {
    const rows = this.#rows;
    const at = rows.find(seq);
    rows.set(at, NEXT, delta);
    if (delta >= HIGH || rows.get(at, HIGHS) !== 0)
      rows.set(at, HIGHS, (rows.get(at, HIGHS) & ~(LINK_MASK << 10)) | (((delta / HIGH) | 0) << 10));
  }

  #setPrevious(seq: number, delta: number): void {
    const rows = this.#rows;
    const at = rows.find(seq);
    rows.set(at, PREVIOUS, delta);
    if (delta >= HIGH || rows.get(at, HIGHS) !== 0)
      rows.set(at, HIGHS, (rows.get(at, HIGHS) & ~LINK_MASK) | ((delta / HIGH) | 0));
  }

  /** Forgets a message; false when it is not there. */
  remove(seq: number): boolean {
    const rows = this.#rows;
    const at = rows.find(seq);
    if (at < 0) return false;
    const subject = rows.get(at, SUBJECT);
    const highs = rows.get(at, HIGHS);
    const entry = rows.get(at, ENTRY) + (highs >>> 20) * HIGH;
    const size = rows.get(at, SIZE);
    const next = rows.get(at, NEXT) + ((highs >>> 10) & LINK_MASK) * HIGH;
    const previous = rows.get(at, PREVIOUS) + (highs & LINK_MASK) * HIGH;
    rows.remove(at);
    this.messages--;
    this.bytes -= size;
    this.#unlink(seq, subject, next, previous);
    if (entry === this.#entry) this.#entryLive--;
    else this.#releaseEntry(entry);
    if (seq === this.firstSeq) this.firstSeq = this.messages === 0 ? this.lastSeq + 1 : rows.nextLive(seq + 1);
    return true;
  }

  #unlink(seq: number, subject: number, next: number, previous: number): void {
    const at = this.#subjects.writableRow(subject);
    const words = this.#subjects.words;
    const count = words[at + COUNT];
    if (count === 1) {
      this.#subjects.remove(subject);
      this.releases++;
      this.#names.forget(subject);
      return;
    }
    words[at + COUNT] = count - 1;
    const first = firstOf(words, at);
    const last = lastOf(words, at);
    if (seq === first) {
      setSpan(words, at, seq + next, last);
    } else if (seq === last) {
      setSpan(words, at, first, seq - previous);
    } else {
      this.#setNext(seq - previous, next + previous);
      this.#setPrevious(seq + next, next + previous);
    }
  }

  #releaseEntry(entry: number): void {
    const entries = this.#entries;
    const at = entries.find(entry);
    const live = entries.get(at, LIVE);
    if (live === 1) entries.remove(at);
    else entries.set(at, LIVE, live - 1);
  }

  /** Forgets all messages at once; lastSeq stays. */
  removeAll(): void {
    this.#rows.clear();
    this.#entries.clear();
    this.#subjects.clear();
    this.#names.clear();
    this.#hints.clear();
    this.releases++;
    this.#entryLive = 0;
    this.messages = 0;
    this.bytes = 0;
    this.firstSeq = this.lastSeq + 1;
  }

  // ---- one message

  exists(seq: number): boolean {
    return this.#rows.find(seq) >= 0;
  }

  /** Log index of the entry that holds the message; 0 when the message is not there. Sets `offset`. */
  locate(seq: number): number {
    const at = this.#rows.find(seq);
    if (at < 0) return 0;
    this.offset = this.#rows.get(at, OFFSET) & OFFSET_MASK;
    return this.#rows.get(at, ENTRY) + (this.#rows.get(at, HIGHS) >>> 20) * HIGH;
  }

  /** Offset in the entry's body of the publish that `locate` found. */
  offset = 0;

  isEntryLive(index: number): boolean {
    return index === this.#entry ? this.#entryLive > 0 : this.#entries.find(index) >= 0;
  }

  hasMark(seq: number, mark: number): boolean {
    const at = this.#rows.find(seq);
    return at >= 0 && (this.#rows.get(at, OFFSET) & mark) !== 0;
  }

  /** The subject of an existing message matches. */
  matches(seq: number, filter: SubjectFilter): boolean {
    const at = this.#rows.find(seq);
    return at >= 0 && this.#subjects.matches(this.#rows.get(at, SUBJECT), forms.matchers(filter));
  }

  /** The message is the oldest of a subject that has more than `max`. */
  exceeds(seq: number, max: number): boolean {
    const at = this.#rows.find(seq);
    if (at < 0) return false;
    const subject = this.#rows.get(at, SUBJECT);
    return this.countOfSubject(subject) > max && this.firstOfSubject(subject) === seq;
  }

  subjectIdOf(seq: number): number {
    const at = this.#rows.find(seq);
    return at < 0 ? 0 : this.#rows.get(at, SUBJECT);
  }

  previousOfSubject(seq: number): number {
    return this.firstOfSubject(this.subjectIdOf(seq)) === seq ? 0 : seq - this.#link(seq, PREVIOUS);
  }

  isLastUpTo(seq: number, upTo: number): boolean {
    if (seq > upTo || !this.exists(seq)) return false;
    return this.lastOfSubject(this.subjectIdOf(seq)) === seq || seq + this.#link(seq, NEXT) > upTo;
  }

  isLastOfSubject(seq: number): boolean {
    const at = this.#rows.find(seq);
    return at >= 0 && this.lastOfSubject(this.#rows.get(at, SUBJECT)) === seq;
  }

  sizeOf(seq: number): number {
    const at = this.#rows.find(seq);
    return at < 0 ? 0 : this.#rows.get(at, SIZE);
  }

  subjectOf(seq: number): string {
    const at = this.#rows.find(seq);
    return at < 0 ? '' : this.#nameOf(this.#rows.get(at, SUBJECT));
  }

  stampUsOf(seq: number): number {
    const entry = this.locate(seq);
    if (entry === 0) return 0;
    if (entry === this.#entry) return this.#entryStampUs;
    const at = this.#entries.find(entry);
    return this.#entries.get(at, STAMP_LOW) + this.#entries.get(at, STAMP_HIGH) * HIGH;
  }

  #nameOf(subject: number): string {
    const known = this.#names.get(subject);
    if (known !== undefined) return known;
    const name = this.#subjects.text(subject);
    this.#names.set(subject, name);
    return name;
  }

  // ---- one subject

  /** Id of the literal subject `bytes[from, to)`; 0 when it has no messages. */
  findSubject(bytes: Uint8Array, from: number, to: number): number {
    return this.#subjects.find(bytes, from, to);
  }

  countOfSubject(subject: number): number {
    const at = this.#subjects.row(subject);
    return this.#subjects.words[at + COUNT];
  }

  firstOfSubject(subject: number): number {
    const at = this.#subjects.row(subject);
    return firstOf(this.#subjects.words, at);
  }

  lastOfSubject(subject: number): number {
    const at = this.#subjects.row(subject);
    return lastOf(this.#subjects.words, at);
  }

  /** Largest seq <= upTo of the subject; 0 when there is none. Walks its chain from the end. */
  lastOfSubjectUpTo(subject: number, upTo: number): number {
    let seq = this.lastOfSubject(subject);
    const first = this.firstOfSubject(subject);
    while (seq > upTo) {
      if (seq === first) return 0;
      seq -= this.#link(seq, PREVIOUS);
    }
    return seq;
  }

  /** Calls `each` with the id of every subject that matches (all when the filter is empty). */
  eachSubject(filter: SubjectFilter, each: (id: number) => void): void {
    const subjects = this.#subjects;
    if (filter.patterns.length > 0 && filter.literal) {
      for (const pattern of forms.literals(filter)) {
        const id = subjects.find(pattern, 0, pattern.length);
        if (id !== 0) each(id);
      }
      return;
    }
    const matchers = forms.matchers(filter);
    const all = this.#isAll(filter);
    for (let id = subjects.nextId(0); id !== 0; id = subjects.nextId(id)) {
      if (all || subjects.matches(id, matchers)) each(id);
    }
  }

  /** As eachSubject, but looks at `max` subjects at most; returns where to go on, 0 at the end. A filter of literals is one step. */
  someSubjects(from: number, filter: SubjectFilter, max: number, each: (id: number) => void): number {
    if (filter.patterns.length > 0 && filter.literal) {
      this.eachSubject(filter, each);
      return 0;
    }
    const subjects = this.#subjects;
    const matchers = forms.matchers(filter);
    const isAll = this.#isAll(filter);
    let left = max;
    let id = subjects.nextId(from);
    for (; id !== 0 && left > 0; id = subjects.nextId(id), left--) {
      if (isAll || subjects.matches(id, matchers)) each(id);
      from = id;
    }
    return id === 0 ? 0 : from;
  }

  nameOfSubject(subject: number): string {
    return this.#nameOf(subject);
  }

  // ---- views for consumers

  /** Smallest existing seq >= from; 0 when there is none. */
  nextFrom(from: number): number {
    const start = Math.max(from, this.firstSeq);
    return start > this.lastSeq || this.messages === 0 ? 0 : Math.max(0, this.#rows.nextLive(start));
  }

  /** Largest existing seq <= upTo; 0 when there is none. */
  lastUpTo(upTo: number): number {
    return this.messages === 0 || upTo < this.firstSeq ? 0 : this.#rows.previousLive(upTo);
  }

  /** The message up to `upTo` that matches and has `count` - 1 newer ones which do; 0: there is none. Looks at `looksMax` messages: `missing` > 0: so
   * many were not found among them, and the rest begins with `seq` - 1. */
  newest(
    filter: SubjectFilter,
    upTo: number,
    count: number,
    looksMax: number,
  ): { seq: number; missing: number; looks: number } {
    let missing = count;
    let looks = 0;
    let seq = this.lastUpTo(upTo);
    for (; seq !== 0; seq = this.lastUpTo(seq - 1)) {
      if (looks >= looksMax) return { seq: seq + 1, missing, looks };
      looks++;
      if (this.matches(seq, filter) && --missing === 0) break;
    }
    return { seq, missing, looks };
  }

  someMessages(from: number, upTo: number, filter: SubjectFilter, max: number, each: (seq: number) => boolean): number {
    const rows = this.#rows;
    const isAll = this.#isAll(filter);
    const matchers = forms.matchers(filter);
    let asked = 0;
    let isMatch = isAll;
    let seq = this.nextFrom(from);
    for (let left = max; seq > 0 && seq <= upTo; left--) {
      if (left === 0) return seq;
      if (!isAll) {
        const subject = rows.get(rows.find(seq), SUBJECT);
        if (subject !== asked) isMatch = this.#subjects.matches(subject, matchers);
        asked = subject;
      }
      if (isMatch && !each(seq)) return seq + 1;
      seq = rows.nextLive(seq + 1);
    }
    return 0;
  }

  next(from: number, filter: SubjectFilter): number {
    const start = Math.max(from, this.firstSeq);
    if (start > this.lastSeq || this.messages === 0) return 0;
    if (filter.patterns.length === 0) return this.nextFrom(start);
    if (!filter.literal) return this.#nextWildcard(start, filter);
    let best = 0;
    for (const pattern of forms.literals(filter)) {
      const id = this.#subjects.find(pattern, 0, pattern.length);
      if (id === 0) continue;
      const seq = this.#nextOfSubject(id, start);
      if (seq !== 0 && (best === 0 || seq < best)) best = seq;
    }
    return best;
  }

  /** The filter lets every message through, and it takes no look at all of them to know: most often since it is the stream's own subjects. */
  #isAll(filter: SubjectFilter): boolean {
    if (filter.patterns.length === 0) return true;
    if (filter.literal) return false;
    return forms.prefixes(filter).some((prefix) => this.#subjects.allBeginWith(prefix));
  }

  /** Smallest seq >= from of the subject, 0 when none: along its chain from a remembered place or an end, and along the rows,
   * in turns, so that the shortest of the ways decides the cost. */
  #nextOfSubject(subject: number, from: number): number {
    const first = this.firstOfSubject(subject);
    if (from <= first) return this.#hint(subject, first);
    const last = this.lastOfSubject(subject);
    if (from > last) return 0;
    if (from === last) return last;
    let ahead = first;
    let behind = last;
    const hint = this.#hints.get(subject);
    if (hint !== undefined) {
      const at = hint > first && hint < last ? this.#rows.find(hint) : -1;
      if (at >= 0 && this.#rows.get(at, SUBJECT) === subject) {
        if (hint < from) ahead = hint;
        else behind = hint;
      }
    }
    for (let row = from; ; row++) {
      ahead += this.#link(ahead, NEXT);
      if (ahead >= from) return this.#hint(subject, ahead);
      const before = behind - this.#link(behind, PREVIOUS);
      if (before < from) return this.#hint(subject, behind);
      behind = before;
      row = this.#rows.nextLive(row);
      if (this.#rows.get(this.#rows.foundAt, SUBJECT) === subject) return this.#hint(subject, row);
    }
  }

  #hint(subject: number, seq: number): number {
    this.#hints.set(subject, seq);
    return seq;
  }

  #link(seq: number, link: number): number {
    const at = this.#rows.find(seq);
    const shift = link === NEXT ? 10 : 0;
    return this.#rows.get(at, link) + ((this.#rows.get(at, HIGHS) >>> shift) & LINK_MASK) * HIGH;
  }

  #nextWildcard(from: number, filter: SubjectFilter): number {
    const matchers = forms.matchers(filter);
    const rows = this.#rows;
    // Beyond this many rows it is cheaper to ask each subject.
    let budget = this.#subjects.size * 4 + 64;
    let asked = 0;
    for (let seq = rows.nextLive(from); seq > 0; seq = rows.nextLive(seq + 1)) {
      const subject = rows.get(rows.foundAt, SUBJECT);
      if (subject !== asked && this.#subjects.matches(subject, matchers)) return seq;
      asked = subject;
      if (--budget === 0) return this.#nextOfSubjects(seq + 1, matchers);
    }
    return 0;
  }

  #nextOfSubjects(from: number, matchers: readonly Matcher[]): number {
    const subjects = this.#subjects;
    let best = 0;
    for (let id = subjects.nextId(0); id !== 0; id = subjects.nextId(id)) {
      if (this.lastOfSubject(id) < from || !subjects.matches(id, matchers)) continue;
      const seq = this.#nextOfSubject(id, from);
      if (best === 0 || seq < best) best = seq;
    }
    return best;
  }

  count(from: number, filter: SubjectFilter): number {
    const start = Math.max(from, this.firstSeq);
    if (start > this.lastSeq || this.messages === 0) return 0;
    if (this.#isAll(filter)) return start === this.firstSeq ? this.messages : this.#rows.countFrom(start);
    if (filter.literal) {
      let count = 0;
      for (const pattern of forms.literals(filter)) {
        const id = this.#subjects.find(pattern, 0, pattern.length);
        if (id !== 0) count += this.#countOfSubjectFrom(id, start);
      }
      return count;
    }
    const matchers = forms.matchers(filter);
    const subjects = this.#subjects;
    let count = 0;
    if (this.lastSeq - start < subjects.size) {
      const rows = this.#rows;
      for (let seq = rows.nextLive(start); seq > 0; seq = rows.nextLive(seq + 1)) {
        if (subjects.matches(rows.get(rows.foundAt, SUBJECT), matchers)) count++;
      }
      return count;
    }
    for (let id = subjects.nextId(0); id !== 0; id = subjects.nextId(id)) {
      if (this.lastOfSubject(id) >= start && subjects.matches(id, matchers))
        count += this.#countOfSubjectFrom(id, start);
    }
    return count;
  }

  /** Walks the chain from both ends; the shorter side decides the cost. */
  #countOfSubjectFrom(subject: number, from: number): number {
    let first = this.firstOfSubject(subject);
    const total = this.countOfSubject(subject);
    if (from <= first) return total;
    let last = this.lastOfSubject(subject);
    for (let steps = 0; ; steps++) {
      if (last < from) return steps;
      if (first >= from) return total - steps;
      first += this.#link(first, NEXT);
      last -= this.#link(last, PREVIOUS);
    }
  }

  isShort(from: number, filter: SubjectFilter): boolean {
    const start = Math.max(from, this.firstSeq);
    const rows = Math.min(this.lastSeq - start, this.messages);
    if (rows <= SHORT || this.#isAll(filter)) return true;
    if (!filter.literal) return start === this.firstSeq && this.subjects <= SHORT;
    let count = 0;
    this.eachSubject(filter, (id) => {
      count += this.firstOfSubject(id) >= start ? 0 : this.countOfSubject(id);
    });
    return count <= SHORT;
  }

  firstLast(filter: SubjectFilter): number {
    let first = 0;
    this.eachSubject(filter, (id) => {
      const last = this.lastOfSubject(id);
      if (first === 0 || last < first) first = last;
    });
    return first;
  }

  lastMatching(filter: SubjectFilter): number {
    if (this.#isAll(filter)) return this.lastUpTo(this.lastSeq);
    if (!filter.literal) {
      // Most often one of the newest matches.
      const { seq, missing } = this.newest(filter, this.lastSeq, 1, NEWEST_LOOKS);
      if (missing === 0 || seq === 0) return seq;
    }
    let last = 0;
    this.eachSubject(filter, (id) => {
      last = Math.max(last, this.lastOfSubject(id));
    });
    return last;
  }

  seqAtOrAfter(stampUs: number): number {
    const rows = this.#rows;
    let low = this.firstSeq;
    let high = this.lastSeq + 1;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const seq = rows.nextLive(middle);
      if (seq < 0 || this.stampUsOf(seq) >= stampUs) high = middle;
      else low = seq + 1;
    }
    const seq = low > this.lastSeq ? -1 : rows.nextLive(low);
    return seq < 0 ? this.lastSeq + 1 : seq;
  }

  /** Calls `each` with those of the `max` seqs from `from` (or the first message) on that are gone; returns where to go on, 0 at the end. */
  someDeleted(from: number, max: number, each: (seq: number) => void): number {
    if (this.messages === 0) return 0;
    let expected = Math.max(from, this.firstSeq);
    const end = Math.min(expected + max, this.lastSeq + 1);
    while (expected < end) {
      const next = this.#rows.nextLive(expected);
      const until = next < 0 ? end : Math.min(next, end);
      while (expected < until) each(expected++);
      if (expected === next) expected++;
    }
    return expected > this.lastSeq ? 0 : expected;
  }

  get deletedCount(): number {
    return this.messages === 0 ? 0 : this.lastSeq - this.firstSeq + 1 - this.messages;
  }

  // ---- snapshot

  write(out: SnapshotWriter): void {
    out.number(this.firstSeq);
    out.number(this.lastSeq);
    out.number(this.messages);
    out.number(this.bytes);
    this.#rows.write(out);
    this.#entries.write(out);
    this.#subjects.write(out);
  }

  *read(from: SnapshotReader): Steps<void> {
    this.firstSeq = from.number();
    this.lastSeq = from.number();
    this.messages = from.number();
    this.bytes = from.number();
    yield* this.#rows.read(from);
    yield* this.#entries.read(from);
    yield* this.#subjects.read(from);
    this.#names.clear();
    this.#hints.clear();
    this.releases++;
  }

  /** Bytes of memory of the tables. */
  get tableBytes(): number {
    return this.#rows.bytes + this.#entries.bytes + this.#subjects.bytes;
  }
}

function firstOf(words: Uint32Array, at: number): number {
  const highs = words[at + SPAN_HIGHS];
  return words[at + FIRST] + ((highs & LAST_HIGH_MASK) - (highs >>> LAST_HIGH_BITS)) * HIGH;
}

function lastOf(words: Uint32Array, at: number): number {
  return words[at + LAST] + (words[at + SPAN_HIGHS] & LAST_HIGH_MASK) * HIGH;
}

function setSpan(words: Uint32Array, at: number, first: number, last: number): void {
  words[at + FIRST] = first;
  words[at + LAST] = last;
  if (last < HIGH) {
    words[at + SPAN_HIGHS] = 0;
    return;
  }
  const high = Math.floor(last / HIGH);
  words[at + SPAN_HIGHS] = high | ((high - Math.floor(first / HIGH)) << LAST_HIGH_BITS);
}
