// Stories of the core: each test/scripts/*.txt holds commands and, below the line, everything that happened. A difference fails;
// UPDATE=1 writes the trace anew (read the diff before committing it).
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ScriptCluster } from './script-cluster.ts';

const DIR = resolve(import.meta.dirname, '../../scripts');
const LINE = '======== trace ========';

function run(script: string): string {
  const cluster = new ScriptCluster();
  for (const line of script.split('\n')) {
    const text = line.trim();
    if (text.startsWith('#') && text.length > 1) cluster.lines.push(text);
    else if (text !== '' && text !== '#') cluster.run(text);
  }
  return cluster.lines.join('\n');
}

describe('core stories', () => {
  for (const file of readdirSync(DIR).filter((name) => name.startsWith('raft-') && name.endsWith('.txt'))) {
    test(file, () => {
      const path = join(DIR, file);
      const script = readFileSync(path, 'utf8').split(LINE)[0].trimEnd();
      const text = `${script}\n\n${LINE}\n\n${run(script)}\n`;
      if (process.env.UPDATE === '1') writeFileSync(path, text);
      expect(readFileSync(path, 'utf8')).toBe(text);
    });
  }
});
