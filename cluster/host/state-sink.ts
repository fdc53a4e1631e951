// How a machine takes a state: in pieces, so that a large one is neither one buffer nor one long step. Used by the host, which feeds it from a
// snapshot file, and by machines. Invariant: between the first piece and `end` the machine stands for nothing.
import type { StoredSnapshot } from '../wal/types.ts';

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

/** Feeds a stored state to `sink`, a chunk a turn; `done(false)`: it could not be read, `sink` was not ended. */
export function feedState(
  snapshot: StoredSnapshot,
  sink: StateSink,
  isWanted: () => boolean,
  done: (whole: boolean) => void,
): void {
  let left = snapshot.stateBytes;
  const next = (chunk: number): void => {
    if (left === 0) {
      sink.end();
      done(true);
      return;
    }
    snapshot.read(chunk, (bytes) => {
      if (!isWanted()) return;
      if (bytes === undefined) {
        done(false);
        return;
      }
      left -= bytes.length;
      sink.push(bytes);
      next(chunk + 1);
    });
  };
  next(0);
}
