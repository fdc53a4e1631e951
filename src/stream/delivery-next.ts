// The message that a consumer is about to deliver: read once, however often it is looked at; those of cold storage come later. Used by
// delivery-consumer.ts. Invariant: at most one read is under way.
import type { StoredMessage } from './types.ts';

const NOT_READ = 0;
/** Inside the call that may answer at once. */
const READING = 1;
const AWAITED = 2;
const READ = 3;

export class NextMessage {
  readonly #readMessage: (seq: number, done: (message: StoredMessage | undefined) => void) => void;
  readonly #onLate: () => void;
  #seq = 0;
  #state: typeof NOT_READ | typeof READING | typeof AWAITED | typeof READ = NOT_READ;
  #message: StoredMessage | undefined;

  /** `onLate`: what was awaited is there, or is not there any more. */
  constructor(
    readMessage: (seq: number, done: (message: StoredMessage | undefined) => void) => void,
    onLate: () => void,
  ) {
    this.#readMessage = readMessage;
    this.#onLate = onLate;
  }

  get isAwaited(): boolean {
    return this.#state === AWAITED;
  }

  /** Undefined when the message is not there, or not yet (then it is awaited). */
  load(seq: number): StoredMessage | undefined {
    if (this.#state !== READ || this.#seq !== seq) {
      this.#seq = seq;
      this.#state = READING;
      this.#readMessage(seq, this.#onRead);
      if (this.#state === READING) {
        this.#state = AWAITED;
        return undefined;
      }
    }
    if (this.#message === undefined) this.#state = NOT_READ;
    return this.#message;
  }

  /** It was delivered. One that is awaited stays so: its answer must not be taken for another's. */
  forget(): void {
    if (this.#state === AWAITED) return;
    this.#state = NOT_READ;
    this.#message = undefined;
  }

  readonly #onRead = (message: StoredMessage | undefined): void => {
    const awaited = this.#state === AWAITED;
    this.#state = READ;
    this.#message = message;
    if (awaited) this.#onLate();
  };
}
