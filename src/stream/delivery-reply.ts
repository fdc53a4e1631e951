// Reply subjects of deliveries: where acks go, and what a client reads of its message there (nats-surface A1). One per consumer; pure.

export class ReplySubjects {
  readonly #prefix: string;
  /** As the last one said it: messages of one batch have one stamp. */
  #stampUs = Number.NaN;
  #stamp = '';

  constructor(stream: string, consumer: string) {
    this.#prefix = `$JS.ACK.${stream}.${consumer}.`;
  }

  /** `left`: messages of the consumer behind this one. */
  of(deliveries: number, streamSeq: number, consumerSeq: number, stampUs: number, left: number): string {
    if (stampUs !== this.#stampUs) {
      this.#stampUs = stampUs;
      this.#stamp = `.${stampUs}000.`;
    }
    return `${this.#prefix}${deliveries}.${streamSeq}.${consumerSeq}${this.#stamp}${left}`;
  }
}
