// A naive stream: a Map of messages and nothing clever. What machine.ts must agree with, step by step.
import type { StreamConfig } from '../../../src/stream/config.ts';
import { subjectMatches } from '../../../src/subjects/subject.ts';

export interface ModelMessage {
  subject: string;
  size: number;
  stampUs: number;
  entry: number;
}

export type Step =
  | { kind: 'publish'; subject: string; payload: number; hdr: boolean; id: string; rollup: '' | 'sub' | 'all' }
  | { kind: 'purge'; filter: string; below: number; keep: number }
  | { kind: 'delete'; seq: number }
  | { kind: 'config'; change: Partial<StreamConfig> }
  | { kind: 'expire'; max: number };

export class Model {
  messages = new Map<number, ModelMessage>();
  ids = new Map<string, { seq: number; stampUs: number }>();
  last = 0;
  config: StreamConfig;

  constructor(config: StreamConfig) {
    this.config = config;
  }

  get seqs(): number[] {
    return [...this.messages.keys()];
  }

  get first(): number {
    return this.seqs[0] ?? this.last + 1;
  }

  get bytes(): number {
    return [...this.messages.values()].reduce((sum, message) => sum + message.size, 0);
  }

  ofSubject(subject: string): number[] {
    return this.seqs.filter((seq) => this.messages.get(seq)?.subject === subject);
  }

  matching(filter: string): number[] {
    return this.seqs.filter((seq) => filter === '' || subjectMatches(filter, this.messages.get(seq)!.subject));
  }

  apply(step: Step, entry: number, stampUs: number, idInHdr: number): void {
    switch (step.kind) {
      case 'publish': {
        const hdr = idInHdr;
        const { storage } = this.config;
        const text = new TextEncoder().encode(step.subject).length + step.payload;
        const size = storage === 'memory' ? text + hdr + 16 : 22 + text + 8 + (hdr > 0 ? 4 + hdr : 0);
        this.messages.set(++this.last, { subject: step.subject, size, stampUs, entry });
        if (step.id !== '' && (this.config.duplicate_window ?? 0) > 0) {
          this.ids.delete(step.id);
          this.ids.set(step.id, { seq: this.last, stampUs });
        }
        if (step.rollup === 'sub')
          for (const seq of this.ofSubject(step.subject).slice(0, -1)) this.messages.delete(seq);
        if (step.rollup === 'all') for (const seq of this.seqs.slice(0, -1)) this.messages.delete(seq);
        this.#limits();
        return;
      }
      case 'purge': {
        const below = step.below > 0 ? step.below : this.last + 1;
        const all = this.matching(step.filter);
        const most = step.keep > 0 ? Math.max(0, all.length - step.keep) : all.length;
        for (const seq of all.filter((seq) => seq < below).slice(0, most)) this.messages.delete(seq);
        return;
      }
      case 'delete':
        this.messages.delete(step.seq);
        return;
      case 'config':
        this.config = { ...this.config, ...step.change };
        if ((this.config.duplicate_window ?? 0) === 0) this.ids.clear();
        this.#limits();
        return;
      case 'expire': {
        const age = this.config.max_age / 1000;
        if (age > 0) {
          const old = this.seqs.filter((seq) => this.messages.get(seq)!.stampUs <= stampUs - age);
          for (const seq of old.slice(0, step.max)) this.messages.delete(seq);
        }
        const gone = [...this.ids].filter(
          ([, id]) => id.stampUs <= stampUs - (this.config.duplicate_window ?? 0) / 1000,
        );
        for (const [id] of gone.slice(0, step.max)) this.ids.delete(id);
        return;
      }
    }
  }

  #limits(): void {
    const { max_msgs_per_subject, max_msgs, max_bytes, discard } = this.config;
    if (max_msgs_per_subject > 0 && !(discard === 'new' && this.config.discard_new_per_subject)) {
      for (const subject of new Set([...this.messages.values()].map((message) => message.subject))) {
        const seqs = this.ofSubject(subject);
        for (const seq of seqs.slice(0, Math.max(0, seqs.length - max_msgs_per_subject))) this.messages.delete(seq);
      }
    }
    if (discard === 'new') return;
    while (max_msgs > 0 && this.messages.size > max_msgs) this.messages.delete(this.first);
    while (max_bytes > 0 && this.bytes > max_bytes) this.messages.delete(this.first);
  }
}
