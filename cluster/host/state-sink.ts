// How a machine takes a state: in pieces, so that a large one is neither one buffer nor one long step. Used by the host, which feeds it from a
// snapshot file, and by machines. Invariant: between the first piece and `end` the machine stands for nothing.
import { crc32c } from '@node-rs/crc32';
import type { Clock } from '../../src/kit/env.ts';
import type { Index } from '../core/types.ts';
import { CHUNK_BYTES, endCrcOf } from '../wal/snapshots.ts';
import type { StoredSnapshot } from '../wal/types.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';

const CHUNKS_AHEAD = 8;

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

/** Feeds a stored state to `sink`, a chunk a turn, and reads some chunks ahead; `done(false)`: it could not be read, or is not what was stored;
 * `sink` was not ended. */
export function feedState(
  clock: Clock,
  snapshot: StoredSnapshot,
  sink: StateSink,
  isWanted: () => boolean,
  done: (whole: boolean) => void,
): void {
  const chunks = Math.ceil(snapshot.stateBytes / CHUNK_BYTES);
  const ahead = new Map<number, Uint8Array>();
  const crcs = new Uint32Array(chunks);
  let asked = 0;
  let fed = 0;
  let ended = false;
  let feeding = false;
  const end = (whole: boolean): void => {
    ended = true;
    if (whole) sink.end();
    done(whole);
  };
  const ask = (): void => {
    while (asked < chunks && asked - fed < CHUNKS_AHEAD) {
      const chunk = asked++;
      snapshot.read(chunk, (bytes) => {
        if (ended || !isWanted()) return;
        if (bytes === undefined) {
          end(false);
          return;
        }
        ahead.set(chunk, bytes);
        feed();
      });
    }
  };
  const feed = (): void => {
    const bytes = ahead.get(fed);
    if (bytes === undefined || feeding) return;
    feeding = true;
    clock.endOfTurn(() => {
      feeding = false;
      if (ended || !isWanted()) return;
      ahead.delete(fed);
      crcs[fed++] = crc32c(bytes);
      sink.push(bytes);
      if (fed === chunks) end(endCrcOf(new Uint8Array(crcs.buffer)) === snapshot.crc);
      else {
        ask();
        feed();
      }
    });
  };
  if (chunks === 0) end(true);
  else ask();
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
    feedState(env.clock, snapshot, sink, () => !runner.closed, done);
  } else if (index === 0 || wal.readSnapshotSync(id, (chunk) => sink.push(chunk))) {
    sink.end();
  } else lost();
}
