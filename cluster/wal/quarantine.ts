// Doubtful files are moved, never deleted: quarantine/<wal dir>-<name>-<n>. Called at recovery, and when a snapshot or a removed segment turns
// out to be damaged. Synchronous (rename and directory sync) because it is rare.
import type { Env } from '../../src/kit/env.ts';
import { QUARANTINE_DIR } from './options.ts';

export function quarantine(env: Env, dir: string, name: string, reason: string): void {
  env.disk.mkdirSync(QUARANTINE_DIR);
  const taken = new Set(env.disk.listSync(QUARANTINE_DIR));
  const flat = `${dir}-${name}`.replaceAll('/', '-');
  let n = 1;
  while (taken.has(`${flat}-${n}`)) n++;
  env.log.error('wal: a doubtful file was moved to quarantine', { file: `${dir}/${name}`, reason });
  env.disk.renameSync(`${dir}/${name}`, `${QUARANTINE_DIR}/${flat}-${n}`);
}
