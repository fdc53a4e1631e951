// How a machine takes a state: in pieces, so that a large one is neither one buffer nor one long step. Used by the host, which feeds it from a
// snapshot file, and by machines. Invariant: between the first piece and `end` the machine stands for nothing.
import { crc32c } from '@node-rs/crc32';
import type { Index } from '../core/types.ts';
import { CHUNK_BYTES, endCrcOf } from '../wal/snapshots.ts';
import type { StoredSnapshot } from '../wal/types.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';

export interface StateSink {
  /** The next bytes, which must not change any more. */
  push(bytes: Uint8Array): void;
  /** That was all; without any bytes before, the machine is empty. */
  end(): void;
}

/** For machines whose state is small: all of it at once. */
export function wholeState(restore: (state: Uint8Array | undefined) => void): StateSink {
  const pieces: Uint8Array[] = [];
  let size = 0;
  return {
    push: (bytes) => {
      pieces.push(bytes);
      size += bytes.length;
    },
    end: () => {
      const whole = new Uint8Array(size);
      let at = 0;
      for (const piece of pieces) {
        whole.set(piece, at);
        at += piece.length;
      }
      restore(pieces.length === 0 ? undefined : whole);
    },
  };
}

/** Feeds a stored state to `sink`, a chunk a turn; `done(false)`: it could not be read, or is not what was stored; `sink` was not ended. */
export function feedState(
  snapshot: StoredSnapshot,
  sink: StateSink,
  isWanted: () => boolean,
  done: (whole: boolean) => void,
): void {
  const crcs: number[] = [];
  let left = snapshot.stateBytes;
  const next = (chunk: number): void => {
    if (left === 0) {
      const whole = endCrcOf(new Uint8Array(Uint32Array.from(crcs).buffer)) === snapshot.crc;
      if (whole) sink.end();
      done(whole);
      return;
    }
    snapshot.read(chunk, (bytes) => {
      if (!isWanted()) return;
      if (bytes === undefined) {
        done(false);
        return;
      }
      left -= bytes.length;
      crcs.push(crc32c(bytes));
      sink.push(bytes);
      next(chunk + 1);
    });
  };
  next(0);
}

interface Owner extends RunnerOwner {
  reviewVote(runner: GroupRunner): void;
}

/** At start-up the machine becomes what the snapshot at `index` says (0: empty). A large one takes many turns; until then nothing is applied, read
 * or voted for here. */
export function restoreMachine(owner: Owner, runner: GroupRunner, index: Index): void {
  const { env, wal } = owner;
  const { id, machine } = runner;
  const sink = machine.restore(index);
  const snapshot = index === 0 ? undefined : wal.openSnapshot(id);
  const lost = (): void => {
    env.log.error(`group ${id}: its snapshot at ${index} is unreadable, it is asked for elsewhere`);
    runner.stateMissing = true;
    machine.restore(index).end();
  };
  if (snapshot !== undefined && snapshot.stateBytes > CHUNK_BYTES) {
    runner.installing = true;
    const done = (whole: boolean): void => {
      runner.installing = false;
      if (whole) runner.settleReads();
      else lost();
      owner.reviewVote(runner);
      owner.dirty(runner);
    };
    feedState(snapshot, sink, () => !runner.closed, done);
  } else if (index === 0 || wal.readSnapshotSync(id, (chunk) => sink.push(chunk))) {
    sink.end();
  } else lost();
}
