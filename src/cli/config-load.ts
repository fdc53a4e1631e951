// Reads a configuration file from disk, with what it includes. Called by `flotilla server`; parsing and meaning are pure
// (config-parser.ts, config-file.ts).
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type FileFindings, settingsOfFile } from './config-file.ts';
import { type ConfigWorld, parseConfig } from './config-parser.ts';

type Text = { ok: true; file: string; text: string } | { ok: false; error: string };

export function loadConfigFile(file: string, env: Record<string, string | undefined>): FileFindings {
  const failed = (error: string): FileFindings => ({ settings: { limits: {} }, errors: [error], warnings: [] });
  const read = readText(file);
  if (!read.ok) return failed(`${file}: ${read.error}`);
  const world: ConfigWorld = {
    variable: (name) => env[name],
    include: (path, from) => readText(resolve(dirname(from), path)),
  };
  const parsed = parseConfig(read.text, file, world);
  if (!parsed.ok) return failed(parsed.error);
  // As an upgrade or a full disk may leave a file: an open server instead of the one that was meant.
  if (parsed.root.size === 0) return failed(`${file}: the file says nothing`);
  return settingsOfFile(parsed.root);
}

function readText(file: string): Text {
  try {
    return { ok: true, file, text: readFileSync(file, 'utf8') };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const known: Record<string, string> = { ENOENT: 'no such file', EISDIR: 'is a directory', EACCES: 'not readable' };
    return { ok: false, error: (code && known[code]) ?? error.message };
  }
}
