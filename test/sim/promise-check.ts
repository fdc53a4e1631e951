// Did a node promise what it would forget? Looks at consensus messages as they leave. A vote, a request for votes and an acknowledgement
// rest on what is durable: each vote, and a sample of the acknowledgements, is held against what a recovery would find if the power went at
// this moment. What a leader commits beyond what it began with ends with an entry of its own term (figure 8 of the Raft paper).
// Owned by World. Finds in one run what a crash at the wrong moment finds in a thousand.
import { isVote } from '../../cluster/core/election.ts';
import { Raft } from '../../cluster/core/raft.ts';
import type { GroupId, Index, PeerId, RaftMessage, Term } from '../../cluster/core/types.ts';
import type { GroupRunner } from '../../cluster/host/group-runner.ts';
import { decodeRaftBatch } from '../../cluster/rpc/raft-codec.ts';
import { Channel, type PeerInfo } from '../../cluster/rpc/types.ts';
import type { RecoveredGroup, Wal } from '../../cluster/wal/types.ts';
import { openWal } from '../../cluster/wal/wal.ts';
import { WAL_DIR } from '../../src/node.ts';
import { createPrng, type Prng } from './prng.ts';
import { createScheduler } from './scheduler.ts';
import { SimDisk } from './sim-disk.ts';
import { createSimEnv } from './sim-env.ts';
import type { SimNode } from './sim-node.ts';
import type { World } from './world.ts';

const ACKS_SHARE = 0.005;

export class PromiseCheck {
  readonly #world: World;
  readonly #chance: Prng;
  /** The present leader's term, and how far it was seen to commit. */
  readonly #reigns = new Map<GroupId, { term: Term; commit: Index }>();

  constructor(world: World) {
    this.#world = world;
    this.#chance = world.prng.stream('promises');
  }

  sent(from: PeerInfo, to: PeerId, channel: Channel, bytes: Uint8Array): void {
    if (channel !== Channel.raft) return;
    const node = this.#world.nodes.find(({ name }) => name === from.name);
    // What damage took is not what was promised too early.
    if (node === undefined || node.damaged) return;
    const promises: [GroupId, RaftMessage][] = [];
    const isSampled = this.#chance.float() < ACKS_SHARE;
    decodeRaftBatch(
      bytes,
      from.id,
      to,
      () => false,
      (group, message) => {
        this.#committedBy(node, group, message.term);
        if (isVote(message) || (isSampled && isAcknowledgement(message))) promises.push([group, message]);
      },
    );
    if (promises.length === 0) return;
    const recovered = recoverImage(node, node.disk.durableImage())?.recovered;
    for (const [group, message] of promises) {
      this.#world.count(`promise checked: ${message.type}`);
      const broken = isKept(recovered?.get(group), message);
      if (broken !== undefined)
        this.#world.violations.push(
          `${from.name}, group ${group}: ${message.type} of term ${message.term} left, but ${broken}`,
        );
    }
  }

  /** It has just been elected, and knows what was committed before. */
  leads(node: SimNode, group: GroupId, term: Term): void {
    const raft = coreOf(node, group);
    if (raft !== undefined) this.#reigns.set(group, { term, commit: raft.commit });
  }

  /** Messages to a member that lags say less than the leader knows, so the leader itself is looked at. */
  #committedBy(node: SimNode, group: GroupId, term: Term): void {
    const raft = coreOf(node, group);
    const reign = this.#reigns.get(group);
    if (raft === undefined || raft.term !== term || raft.role !== 'leader' || reign?.term !== term) return;
    const { commit } = raft;
    if (commit <= reign.commit) return;
    reign.commit = commit;
    const of = OpenRaft.termOf(raft, commit);
    if (of === term) return;
    this.#world.violations.push(
      `group ${group}: entry ${commit} of term ${of} was committed by counting in term ${term}`,
    );
  }
}

/** To look at: what it says of itself by `status` changes when its core hears what is held for it. */
export function runnerOf(node: SimNode, group: GroupId): GroupRunner | undefined {
  return node.node?.host.group(group) as GroupRunner | undefined;
}

export function coreOf(node: SimNode, group: GroupId): Raft | undefined {
  return runnerOf(node, group)?.raft as Raft | undefined;
}

/** Shows what a core keeps to itself. */
class OpenRaft extends Raft {
  static termOf(raft: Raft, index: Index): Term | undefined {
    return (raft as OpenRaft).state.log.termOf(index);
  }
}

function isAcknowledgement(message: RaftMessage): boolean {
  return message.type === 'append-reply' && message.ok && message.index > 0;
}

/** What is not true of the disk although the message says so. */
function isKept(group: RecoveredGroup | undefined, message: RaftMessage): string | undefined {
  const { term, vote } = group?.hardState ?? { term: 0, vote: 0 };
  const last = group?.lastIndex ?? 0;
  if (message.type === 'append-reply') return last < message.index ? `the log on disk ends at ${last}` : undefined;
  const candidate = message.type === 'vote' ? message.from : message.to;
  if (term > message.term || (term === message.term && vote === candidate)) return undefined;
  return `the disk says vote ${vote} in term ${term}`;
}

/** What a recovery finds in such a copy of a node's disk, on a disk and in a world of its own. Undefined: it refuses it. */
export function recoverImage(node: SimNode, image: ReadonlyMap<string, Uint8Array>): Wal | undefined {
  const scheduler = createScheduler(createPrng(1));
  const disk = new SimDisk({ scheduler, prng: createPrng(2) });
  disk.restore(image);
  const env = createSimEnv({ scheduler, seed: 3, node: node.name, disk });
  return env.run(() => openWal(env, WAL_DIR, node.tuning.wal));
}
