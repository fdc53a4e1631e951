// What monitoring asks the file system itself: its size, and how many doubtful files wait in quarantine. One look at a time, so that a disk
// that hangs holds one thread of the pool, not one per scrape; meanwhile the last answer stands.
import { readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';

export interface DiskFacts {
  /** NaN before the first answer. */
  sizeBytes: number;
  quarantinedFiles: number;
}

const ANSWER_MS_MAX = 200;
const QUARANTINE_DIR = 'quarantine';

export class DiskLook {
  readonly #dir: string;
  #facts: DiskFacts = { sizeBytes: Number.NaN, quarantinedFiles: 0 };
  #looking: Promise<void> | undefined;

  constructor(dataDir: string) {
    this.#dir = dataDir;
  }

  /** Waits a moment for a fresh answer. */
  async facts(): Promise<DiskFacts> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((done) => {
      timer = setTimeout(done, ANSWER_MS_MAX);
    });
    await Promise.race([this.#looking, late]);
    clearTimeout(timer);
    return this.#facts;
  }

  async #look(): Promise<void> {
    const [size, files] = await Promise.all([
      statfs(this.#dir).then(({ bsize, blocks }) => bsize * blocks, absent(Number.NaN)),
      readdir(join(this.#dir, QUARANTINE_DIR)).then(({ length }) => length, absent(0)),
    ]);
    this.#facts = { sizeBytes: size, quarantinedFiles: files };
  }
}

/** For what is not there, or cannot be read: that is for the broker's own disk checks to judge, not for a scrape. */
function absent<T>(value: T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code === undefined) throw error;
    return value;
  };
}
