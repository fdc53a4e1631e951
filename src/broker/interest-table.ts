// What the clients of this node want, added up: the part of interest that other nodes need to know. Pure; kept by cluster-routes.ts.
// Invariant: `weight` of a (account, subject, queue) is what peers were told last: 0 or 1 for plain interest, the number of
// members for a queue group.

interface Wanted {
  plain: number;
  queues: Map<string, number> | undefined;
}

export type InterestWalk = Generator<{ account: string; subject: string; queue: string; weight: number }>;

export class InterestTable {
  readonly #accounts = new Map<string, Map<string, Wanted>>();

  /** The weight to tell peers, or -1 when nothing changes for them. */
  add(account: string, subject: string, queue: string): number {
    let subjects = this.#accounts.get(account);
    if (subjects === undefined) this.#accounts.set(account, (subjects = new Map()));
    let wanted = subjects.get(subject);
    if (wanted === undefined) subjects.set(subject, (wanted = { plain: 0, queues: undefined }));
    if (queue === '') return ++wanted.plain === 1 ? 1 : -1;
    const queues = (wanted.queues ??= new Map());
    const members = (queues.get(queue) ?? 0) + 1;
    queues.set(queue, members);
    return members;
  }

  /** As `add`. Only what was added may be removed. */
  remove(account: string, subject: string, queue: string): number {
    const subjects = this.#accounts.get(account)!;
    const wanted = subjects.get(subject)!;
    let weight: number;
    if (queue === '') weight = --wanted.plain === 0 ? 0 : -1;
    else {
      weight = wanted.queues!.get(queue)! - 1;
      if (weight > 0) wanted.queues!.set(queue, weight);
      else wanted.queues!.delete(queue);
    }
    if (wanted.plain === 0 && (wanted.queues?.size ?? 0) === 0) subjects.delete(subject);
    return weight;
  }

  /** Everything that is wanted. May be walked in steps while the table changes: what is there throughout is visited. */
  *entries(): InterestWalk {
    for (const [account, subjects] of this.#accounts) {
      for (const [subject, wanted] of subjects) {
        if (wanted.plain > 0) yield { account, subject, queue: '', weight: 1 };
        if (wanted.queues === undefined) continue;
        for (const [queue, weight] of wanted.queues) yield { account, subject, queue, weight };
      }
    }
  }
}
