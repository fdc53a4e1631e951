// Reads the table of a sealed segment at run time; used by compaction and scrub. Undefined: it cannot be read or verified.
import type { WalContext } from './context.ts';
import { sidecarName } from './options.ts';
import { readSidecarInfo } from './sidecar.ts';

export function readTable(context: WalContext, segment: number, done: (bytes: Uint8Array | undefined) => void): void {
  const { disk, log } = context.env;
  const path = `${context.dir}/${sidecarName(segment)}`;
  const finish = (bytes: Uint8Array | undefined): void => {
    const info = bytes === undefined ? undefined : readSidecarInfo(bytes);
    const valid = info !== undefined && info.segment === segment && info.walId === context.walId;
    if (!valid) log.error('wal: the table of a segment cannot be read', { segment });
    done(valid ? bytes : undefined);
  };
  const size = disk.sizeSync(path);
  if (size === undefined) {
    finish(undefined);
    return;
  }
  disk.open(path, 'read', (error, file) => {
    if (error !== null || file === null) {
      finish(undefined);
      return;
    }
    file.read(0, size, (readError, bytes) => {
      file.close();
      finish(readError === null ? bytes : undefined);
    });
  });
}
