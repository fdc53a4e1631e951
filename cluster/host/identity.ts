// Who this data directory is: a random incarnation drawn when the directory is created, never equal to the configured name. Read by the
// composition root before anything else. Invariant: an unreadable identity is never replaced by a new one; two copies are kept,
// and a directory that has files but no identity is refused.
import { crc32c } from '@node-rs/crc32';
import type { Env } from '../../src/kit/env.ts';
import type { PeerId } from '../core/types.ts';

export const IDENTITY_FORMAT = 1;
const FILES = ['identity', 'identity.copy'] as const;
const LIMIT = 2 ** 48;

export interface Identity {
  format: number;
  incarnation: PeerId;
  /** '' until the cluster is formed. */
  clusterId: string;
  /** The configured name at creation; for people. */
  name: string;
  createdUs: number;
}

/** Reads the identity, or creates it in an empty directory. `mustBeEmptyOf`: directories whose files show that there was one before.
 * Throws an Error that tells the operator what is wrong. */
export function loadIdentity(
  env: Env,
  name: string,
  mustBeEmptyOf: readonly string[],
): { identity: Identity; created: boolean } {
  const copies = FILES.map((file) => read(env, file));
  const valid = copies.find((copy) => copy !== undefined && copy !== 'damaged') as Identity | undefined;
  if (valid !== undefined) {
    if (valid.format > IDENTITY_FORMAT) {
      throw new Error(
        `the data directory was written by a newer version (format ${valid.format}, known is ${IDENTITY_FORMAT})`,
      );
    }
    // The copies differ after a crash between the two writes, or after damage.
    if (copies.some((copy) => JSON.stringify(copy) !== JSON.stringify(valid))) saveIdentity(env, valid);
    return { identity: valid, created: false };
  }
  if (copies.includes('damaged')) {
    throw new Error(
      'both copies of the identity file are damaged; start with an empty data directory to join as a new node',
    );
  }
  const leftover = mustBeEmptyOf.find((dir) => env.disk.listSync(dir).length > 0);
  if (leftover !== undefined) {
    throw new Error(
      `the data directory has files in ${leftover}/ but no identity; move them away to join as a new node`,
    );
  }
  const identity: Identity = {
    format: IDENTITY_FORMAT,
    incarnation: randomIncarnation(env),
    clusterId: '',
    name,
    createdUs: env.clock.wallUs(),
  };
  saveIdentity(env, identity);
  return { identity, created: true };
}

/** Durable when it returns. */
export function saveIdentity(env: Env, identity: Identity): void {
  const text = JSON.stringify(identity);
  const bytes = Buffer.from(`${sum(text)} ${text}\n`);
  for (const file of FILES) {
    env.disk.replaceSync(file, bytes);
    env.crashPoint(`identity:saved-${file}`);
  }
}

function randomIncarnation(env: Env): PeerId {
  for (;;) {
    const id = (env.random.uint32() % 2 ** 16) * 2 ** 32 + env.random.uint32();
    if (id > 0 && id < LIMIT) return id;
  }
}

function read(env: Env, file: string): Identity | 'damaged' | undefined {
  const bytes = env.disk.readSync(file);
  if (bytes === undefined) return undefined;
  const [, crc, text] = /^([0-9a-f]{8}) (.+)\n$/s.exec(Buffer.from(bytes).toString('utf8')) ?? [];
  return text !== undefined && sum(text) === crc ? (JSON.parse(text) as Identity) : 'damaged';
}

function sum(text: string): string {
  return crc32c(text).toString(16).padStart(8, '0');
}
