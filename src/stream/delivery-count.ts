// On the leader: which messages a consumer is still to deliver, and how many (num_pending), exact at every delivery. Counted once, in slices of
// some milliseconds when there are many to look at; then adjusted by what is stored (looked at when the consumer next delivers) and
// removed (told by the engine while it watches). Used by delivery-consumer.ts, which delivers nothing while it is not known.
// Invariants: while KNOWN, `#value` = deliverable messages in (cursor, #countedTo]; while it is counted, `#value` = those of them that were looked
// at and still exist, acknowledged ones beyond `#aheadFrom` included: these are taken off at the end.
import type { Clock, Timer } from '../kit/env.ts';
import type { SeqSet } from './consumer-seq-set.ts';
import { SeqMarks } from './seq-marks.ts';
import type { MessageView, SubjectFilter } from './types.ts';

/** Looks at messages or subjects in one slice; what needs fewer is done at once. */
const LOOKS = 60_000;
/** More new messages than this are counted by the view, or in slices. */
const STEPS_MAX = 10_000;
/** After so many removals without a delivery the count is given up, so that an idle consumer costs nothing. */
const REMOVALS_MAX = 10_000;
/** Where subjects have so many messages each, the last ones are marked, not found again one by one; up to so many bits. */
const MARKED_RATIO = 4;
const MARKS_MAX = 1 << 29;

const UNKNOWN = 0;
/** last_per_subject: the last messages of the subjects. */
const LASTS = 1;
/** Subject by subject: everything behind the cursor. */
const SUBJECTS = 2;
/** Message by message. */
const MESSAGES = 3;
const KNOWN = 4;

/** `next`: none of those that were looked at; `lookedTo` says how far that was. */
export const FAR = -1;

/** What is counted; its last_per_subject concerns messages up to `lastsEnd`. */
export interface Selection {
  readonly filter: SubjectFilter;
  readonly lastsEnd: number;
  nextAfter(cursor: number, view: MessageView): number;
  admits(seq: number, subject: string, view: MessageView): boolean;
}

export class UndeliveredCount {
  readonly #selection: Selection;
  readonly #view: MessageView;
  readonly #clock: Clock;
  readonly #ahead: SeqSet;
  readonly #onKnown: () => void;
  #phase: typeof UNKNOWN | typeof LASTS | typeof SUBJECTS | typeof MESSAGES | typeof KNOWN = UNKNOWN;
  #value = 0;
  #countedTo = 0;
  #removals = 0;
  #timer: Timer | undefined;
  /** Where counting began. */
  #from = 0;
  #aheadFrom = 0;
  /** The last subject that was looked at, or the next message that will be. */
  #at = 0;
  /** LASTS: subjects whose last message is newer, and how far back they were followed. */
  readonly #newer = new Map<number, number>();
  #marks: SeqMarks | undefined;
  #found = 0;
  lookedTo = 0;

  /** `ahead`: acknowledged messages behind the cursor. `onKnown`: the count is there, after `isKnown` has said no. */
  constructor(selection: Selection, view: MessageView, clock: Clock, ahead: SeqSet, onKnown: () => void) {
    this.#selection = selection;
    this.#view = view;
    this.#clock = clock;
    this.#ahead = ahead;
    this.#onKnown = onKnown;
  }

  /** Removals of messages matter to the count. */
  watches(cursor: number): boolean {
    if (this.#phase === UNKNOWN) return false;
    return this.#phase !== KNOWN || this.#countedTo > cursor;
  }

  /** Who waits for it is to ask again. */
  invalidate(): void {
    const isAwaited = this.#timer !== undefined;
    this.end();
    if (isAwaited) this.#timer = this.#clock.after(0, this.#onSlice);
  }

  /** Nobody waits for it any more. */
  end(): void {
    this.#phase = UNKNOWN;
    this.#marks = undefined;
    this.#newer.clear();
    if (this.#timer !== undefined) this.#clock.cancel(this.#timer);
    this.#timer = undefined;
  }

  // ---- counting

  /** `get` may be asked now. If not, it is being counted. */
  isKnown(cursor: number): boolean {
    if (this.#phase === KNOWN) return this.#isNear(cursor) || this.#extend(cursor);
    if (this.#phase !== UNKNOWN) return false;
    const isAwaited = this.#timer !== undefined;
    this.end();
    this.#value = 0;
    this.#removals = 0;
    this.#from = cursor;
    this.#aheadFrom = cursor;
    this.#at = 0;
    this.#countedTo = this.#view.lastSeq;
    if (cursor < this.#selection.lastsEnd) this.#beginLasts();
    else this.#beginRest(cursor + 1);
    if (!this.#slice()) return false;
    // Others than who asks now wait for it as well.
    if (isAwaited) this.#timer = this.#clock.after(0, this.#onSlice);
    return true;
  }

  #isNear(cursor: number): boolean {
    return this.#view.lastSeq - Math.max(this.#countedTo, cursor) <= STEPS_MAX;
  }

  /** A good many were stored since. */
  #extend(cursor: number): boolean {
    this.#from = cursor;
    this.#aheadFrom = Math.max(this.#countedTo, cursor);
    this.#beginRest(this.#aheadFrom + 1);
    return this.#slice();
  }

  #beginLasts(): void {
    const { firstSeq, subjects } = this.#view;
    const low = Math.max(firstSeq, this.#from + 1);
    const span = this.#selection.lastsEnd - low + 1;
    this.#marks = span > subjects * MARKED_RATIO && span <= MARKS_MAX ? new SeqMarks(low, low + span - 1) : undefined;
    this.#phase = LASTS;
  }

  #beginRest(from: number): void {
    const view = this.#view;
    this.#countedTo = view.lastSeq;
    if (from > view.lastSeq) {
      this.#finish();
    } else if (view.isShort(from, this.#selection.filter)) {
      this.#value += view.count(from, this.#selection.filter);
      this.#finish();
    } else {
      // Few subjects of many messages are counted sooner than these, but only from the first message on.
      const isWhole = from <= view.firstSeq && !this.#selection.filter.literal;
      this.#phase = isWhole ? SUBJECTS : MESSAGES;
      this.#at = isWhole ? 0 : from;
    }
  }

  #finish(): void {
    const view = this.#view;
    for (const seq of this.#ahead.values()) {
      if (seq <= this.#aheadFrom || seq > this.#countedTo || !view.exists(seq)) continue;
      // The filter may be another one since it was acknowledged.
      if (this.#selection.admits(seq, view.subjectOf(seq), view)) this.#value--;
    }
    this.#phase = KNOWN;
  }

  /** True: now it is known. */
  #slice(): boolean {
    if (this.#phase === LASTS) this.#lookAtLasts();
    else if (this.#phase === SUBJECTS) this.#lookAtSubjects();
    else if (this.#phase === MESSAGES) this.#lookAtMessages();
    if (this.#phase === KNOWN) return true;
    this.#timer ??= this.#clock.after(0, this.#onSlice);
    return false;
  }

  readonly #onSlice = (): void => {
    this.#timer = undefined;
    if (this.#phase === UNKNOWN || this.#slice()) this.#onKnown();
  };

  #lookAtLasts(): void {
    const view = this.#view;
    let left = LOOKS;
    for (const [id, seq] of this.#newer) {
      let at = seq;
      while (at > this.#selection.lastsEnd && left > 0) {
        at = view.previousOfSubject(at);
        left--;
      }
      if (at > this.#selection.lastsEnd) {
        this.#newer.set(id, at);
        return;
      }
      this.#newer.delete(id);
      this.#take(at);
    }
    const next = left === 0 ? this.#at : view.someSubjects(this.#at, this.#selection.filter, left, this.#lookAtLast);
    this.#at = next > 0 ? next : Number.POSITIVE_INFINITY;
    if (next === 0 && this.#newer.size === 0) this.#beginRest(this.#selection.lastsEnd + 1);
  }

  readonly #lookAtLast = (id: number): void => {
    if (this.#at === Number.POSITIVE_INFINITY) return;
    const last = this.#view.lastOfSubject(id);
    if (last <= this.#selection.lastsEnd) this.#take(last);
    else this.#newer.set(id, last);
  };

  #take(last: number): void {
    if (last <= this.#from) return;
    this.#value++;
    this.#marks?.add(last);
  }

  #lookAtSubjects(): void {
    const next = this.#view.someSubjects(this.#at, this.#selection.filter, LOOKS, this.#lookAtSubject);
    if (next > 0) this.#at = next;
    else this.#finish();
  }

  readonly #lookAtSubject = (id: number): void => {
    const view = this.#view;
    let count = view.countOfSubject(id);
    for (let seq = view.lastOfSubject(id); seq > this.#countedTo; seq = view.previousOfSubject(seq)) count--;
    this.#value += count;
  };

  #lookAtMessages(): void {
    const { filter } = this.#selection;
    this.#at = this.#view.someMessages(this.#at, this.#countedTo, filter, LOOKS, this.#lookAtMessage);
    if (this.#at === 0) this.#finish();
  }

  readonly #lookAtMessage = (): boolean => {
    this.#value++;
    return true;
  };

  // ---- what it is for

  /** What was counted up to now, for who cannot wait. */
  get soFar(): number {
    return this.#value;
  }

  /** Deliverable messages behind `cursor`; only when it is known. */
  get(cursor: number): number {
    const view = this.#view;
    const { lastSeq } = view;
    if (this.#phase !== KNOWN) throw new Error('what was not counted is asked for');
    this.#removals = 0;
    let seq = Math.max(this.#countedTo, cursor);
    while (seq < lastSeq && (seq = this.#selection.nextAfter(seq, view)) !== 0)
      if (!this.#ahead.has(seq)) this.#value++;
    this.#countedTo = lastSeq;
    return this.#value;
  }

  /** The next message behind `cursor`; 0: there is none. FAR. */
  next(cursor: number): number {
    const view = this.#view;
    const { lastsEnd, filter } = this.#selection;
    if (cursor < lastsEnd) {
      const seq = this.#nextLast(cursor + 1);
      if (seq !== 0) return seq;
    }
    this.#marks = undefined;
    const from = Math.max(cursor, lastsEnd) + 1;
    if (from > view.lastSeq) return 0;
    if (filter.literal || filter.patterns.length === 0 || view.subjects <= LOOKS) return view.next(from, filter);
    return this.#look(from, view.lastSeq, this.#isFound);
  }

  #nextLast(from: number): number {
    const marks = this.#marks;
    if (marks === undefined) return this.#look(from, this.#selection.lastsEnd, this.#isFoundLast);
    let seq = marks.next(from);
    for (let left = LOOKS; seq !== 0 && !this.#view.exists(seq); seq = marks.next(seq + 1)) {
      if (left-- > 0) continue;
      this.lookedTo = seq;
      return FAR;
    }
    return seq;
  }

  #look(from: number, upTo: number, each: (seq: number) => boolean): number {
    this.#found = 0;
    const next = this.#view.someMessages(from, upTo, this.#selection.filter, LOOKS, each);
    if (this.#found !== 0 || next === 0) return this.#found;
    this.lookedTo = next - 1;
    return FAR;
  }

  readonly #isFound = (seq: number): boolean => {
    this.#found = seq;
    return false;
  };

  readonly #isFoundLast = (seq: number): boolean => {
    if (this.#view.isLastUpTo(seq, this.#selection.lastsEnd)) this.#found = seq;
    return this.#found === 0;
  };

  /** The next message was delivered. */
  delivered(): void {
    this.#value--;
  }

  /** A message that it is to deliver was acknowledged, and is in `ahead` now. */
  acknowledged(seq: number, cursor: number): void {
    const upTo = this.#phase === KNOWN ? this.#countedTo : this.#aheadFrom;
    if (this.#phase !== UNKNOWN && seq > cursor && seq <= upTo) this.#value--;
  }

  /** The message is about to be removed. */
  removed(seq: number, cursor: number): void {
    if (this.#phase === UNKNOWN) return;
    const isKnown = this.#phase === KNOWN;
    // Without marks nothing has to be kept right but the number.
    if (isKnown && ++this.#removals > REMOVALS_MAX && this.#marks === undefined) {
      this.invalidate();
      return;
    }
    if (seq <= (isKnown ? cursor : this.#from)) return;
    const view = this.#view;
    const { lastsEnd, filter } = this.#selection;
    // Before its subject may be followed no more, which would look as if it had been counted.
    const isCounted = this.#isCounted(seq);
    if (this.#phase === LASTS && this.#newer.size > 0) this.#unfollow(seq);
    if (!isCounted) return;
    const subject = filter.patterns.length === 0 ? '' : view.subjectOf(seq);
    if (!this.#selection.admits(seq, subject, view)) return;
    const isTold = isKnown || seq <= this.#aheadFrom;
    if (!isTold || !this.#ahead.has(seq)) this.#value--;
    if (seq > lastsEnd) return;
    // From now on the one before is its subject's last.
    const heir = view.previousOfSubject(seq);
    if (heir <= (isKnown ? cursor : this.#from)) return;
    if (!isTold || !this.#ahead.has(heir)) this.#value++;
    this.#marks?.add(heir);
  }

  /** It was looked at, and is in the number if it is one that is delivered. */
  #isCounted(seq: number): boolean {
    if (this.#phase === KNOWN) return seq <= this.#countedTo;
    if (seq > this.#countedTo) return false;
    if (this.#phase === MESSAGES) return seq < this.#at;
    const id = this.#view.subjectIdOf(seq);
    if (this.#phase === LASTS) return seq <= this.#selection.lastsEnd && id <= this.#at && !this.#newer.has(id);
    return id <= this.#at;
  }

  /** A subject is followed from the message that goes: from the one before it, then. */
  #unfollow(seq: number): void {
    const id = this.#view.subjectIdOf(seq);
    if (this.#newer.get(id) !== seq) return;
    const before = this.#view.previousOfSubject(seq);
    if (before === 0) this.#newer.delete(id);
    else this.#newer.set(id, before);
  }
}
