// What this node has applied of the meta group, as everybody else sees it (`Catalog`). Fed by the meta machine's changes;
// answers from memory, so it may lag behind the cluster: who needs the latest asks `readBarrier` first.
import type { PeerId } from '../../cluster/core/types.ts';
import { SubjectIndex } from '../subjects/subject.ts';
import type { MetaMachine } from './meta-machine.ts';
import type { Catalog, NodeRecord, StreamRecord } from './types.ts';

type ChangeHandler = Parameters<Catalog['onChange']>[0];

export class MetaCatalog implements Catalog {
  readonly #machine: MetaMachine;
  readonly #leader: () => PeerId;
  readonly #handlers: ChangeHandler[] = [];
  readonly #subjects = new Map<string, SubjectIndex<number>>();
  readonly #sorted = new Map<string, StreamRecord[]>();
  readonly #found: number[] = [];

  constructor(machine: MetaMachine, leader: () => PeerId) {
    this.#machine = machine;
    this.#leader = leader;
  }

  get metaLeader(): PeerId {
    return this.#leader();
  }

  get nodes(): ReadonlyMap<PeerId, NodeRecord> {
    return this.#machine.nodes;
  }

  stream(account: string, name: string): StreamRecord | undefined {
    return this.#machine.streamsOf(account)?.get(name);
  }

  streamById(streamId: number): StreamRecord | undefined {
    return this.#machine.streams.get(streamId);
  }

  streams(account: string): StreamRecord[] {
    let sorted = this.#sorted.get(account);
    if (sorted === undefined) {
      sorted = [...(this.#machine.streamsOf(account)?.values() ?? [])].sort((a, b) => (a.name < b.name ? -1 : 1));
      this.#sorted.set(account, sorted);
    }
    return sorted.slice();
  }

  all(): Iterable<StreamRecord> {
    return this.#machine.streams.values();
  }

  streamOfSubject(account: string, subject: string): StreamRecord | undefined {
    const index = this.#subjects.get(account);
    if (index === undefined) return undefined;
    this.#found.length = 0;
    index.match(subject, this.#found);
    return this.#found.length === 0 ? undefined : this.streamById(this.#found[0]);
  }

  onChange(handler: ChangeHandler): void {
    this.#handlers.push(handler);
  }

  /** Called by meta.ts when the machine has changed. */
  changed(before: StreamRecord | undefined, record: StreamRecord | undefined): void {
    const { account, name } = (record ?? before)!;
    this.#sorted.delete(account);
    if (before !== undefined) {
      const index = this.#subjects.get(account)!;
      for (const subject of before.config.subjects ?? []) index.remove(subject, before.streamId);
      if (index.size === 0) this.#subjects.delete(account);
    }
    if (record !== undefined) {
      let index = this.#subjects.get(account);
      if (index === undefined) this.#subjects.set(account, (index = new SubjectIndex()));
      for (const subject of record.config.subjects ?? []) index.insert(subject, record.streamId);
    }
    for (const handler of this.#handlers) handler({ account, name, before, record });
  }
}
