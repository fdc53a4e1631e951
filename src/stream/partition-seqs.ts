// The seqs of one partition: outside they are the stream's (local * stride + partition), inside local. Used by partition.ts and its reads. Pure.
export class PartitionSeqs {
  readonly #stride: number;
  readonly #partition: number;

  constructor(stride: number, partition: number) {
    this.#stride = stride;
    this.#partition = partition;
  }

  toStream(local: number): number {
    return local <= 0 ? 0 : local * this.#stride + this.#partition;
  }

  /** 0 when the seq is not of this partition. */
  toLocal(seq: number): number {
    const local = (seq - this.#partition) / this.#stride;
    return Number.isInteger(local) && local > 0 ? local : 0;
  }

  /** First local seq whose stream seq is >= seq; of another partition of the stream when that is named. */
  toLocalFrom(seq: number, partition = this.#partition): number {
    return Math.max(1, Math.ceil((seq - partition) / this.#stride));
  }
}
