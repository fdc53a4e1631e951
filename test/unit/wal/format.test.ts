// What a byte on disk means: zeros pass no check, wherever they are and wherever the file ends; another version's files are refused with one
// line and nothing is touched, also when FORMAT itself is gone; recovery gives no log whose terms fall.
import { crc32c } from '@node-rs/crc32';
import { describe, expect, test } from 'vitest';
import { decodeFormat } from '../../../cluster/wal/bodies.ts';
import { FORMAT_VERSION, HEADER_BYTES } from '../../../cluster/wal/record.ts';
import { readSidecarInfo } from '../../../cluster/wal/sidecar.ts';
import { scanSnapshot } from '../../../cluster/wal/snapshots.ts';
import { decodeStateFile } from '../../../cluster/wal/state-file.ts';
import { readTailMark } from '../../../cluster/wal/tail-mark.ts';
import { TermRuns } from '../../../cluster/wal/term-runs.ts';
import { bodyOf, boot, bootSurely, createWorld, entryOf, flush, MEMBERS, settle, type World } from './wal-world.ts';

/** A directory with one of everything. */
function image(): Map<string, Uint8Array> {
  const world = createWorld('format', { segmentBytes: 1500, tailBytes: 500 });
  const life = bootSurely(world);
  for (const group of [1, 2]) life.env.run(() => life.wal.createGroup(group, MEMBERS));
  for (let i = 1; i <= 12; i++) {
    for (const group of [1, 2]) life.env.run(() => life.wal.append(group, [entryOf(i, 1, `text ${i}`.repeat(4))]));
    flush(world, life);
  }
  const meta = { index: 5, term: 1, membership: MEMBERS };
  settle(world, life, (done) => life.wal.saveSnapshot(1, meta, [bodyOf('state')], done));
  settle(world, life, (done) => life.wal.close(done));
  life.env.kill('process');
  return world.disk.image();
}

function decoderOf(path: string): ((bytes: Uint8Array) => unknown) | undefined {
  if (path.includes('/snap/')) {
    return (bytes) =>
      scanSnapshot(
        bytes.length,
        (at, length) => bytes.subarray(at, at + length),
        () => {},
      );
  }
  if (path.endsWith('.idx')) return readSidecarInfo;
  if (/state-[ab]$/.test(path)) {
    // Without its last changes it is an older one, and not taken for this one.
    const generation = decodeStateFile(image().get(path) as Uint8Array)?.generation;
    return (bytes) => {
      const found = decodeStateFile(bytes);
      return found === undefined || found.generation < (generation as number) ? undefined : found;
    };
  }
  if (path.endsWith('FORMAT')) return (bytes) => (decodeFormat(bytes) === 'damaged' ? undefined : decodeFormat(bytes));
  if (!/tail-[ab]$/.test(path)) return undefined;
  return (bytes) => (readTailMark(1, bytes).length === 0 ? undefined : 'a mark');
}

describe('zeros', () => {
  const files = [...image()].filter(([path]) => path.startsWith('wal/'));

  test.each(files.map(([path, bytes]) => [path, bytes] as const))('pass no check: %s', (path, bytes) => {
    const decode = decoderOf(path);
    for (let at = 0; at < bytes.length; at += 4) {
      for (const to of [at + 4, at + 8, at + 64, bytes.length]) {
        for (const size of new Set([bytes.length, to, to + 4, to + 8, to + 12])) {
          if (size > bytes.length || (size === bytes.length && !bytes.subarray(at, to).some((byte) => byte !== 0)))
            continue;
          const harmed = bytes.slice(0, size);
          harmed.fill(0, at, to);
          if (decode !== undefined && !path.includes('tail-'))
            expect(decode(harmed), `${at}..${to} of ${size}`).toBeUndefined();
          else if (decode !== undefined) decode(harmed);
        }
      }
    }
    // Nothing but zeros, of any size.
    for (let size = 0; size < 200; size++) expect(decode?.(new Uint8Array(size))).toBeUndefined();
  });

  test('a start meets them in every file and goes on', () => {
    const whole = image();
    for (const [path, bytes] of files) {
      for (let at = 0; at < bytes.length; at += 56) {
        for (const size of [bytes.length, Math.min(bytes.length, at + 16)]) {
          const world = createWorld(`${path} ${at}`, { segmentBytes: 1500, tailBytes: 500 });
          world.disk.restore(whole);
          world.disk.cutTo(path, size);
          world.disk.zero(path, at, Math.min(size, at + 16));
          const life = bootSurely(world);
          for (const group of [1, 2]) expect(life.wal.recovered.has(group) || life.wal.groupsUnsure).toBe(true);
          life.env.run(() => life.wal.recovered.has(1) && life.wal.readSnapshotSync(1, () => {}));
        }
      }
    }
  });
});

describe('versions', () => {
  const format = (version: number): Uint8Array => {
    const text = `flotilla-wal ${version} 5`;
    return bodyOf(`${text} ${crc32c(text)}\n`);
  };

  /** As another version would have written it: the parts that hold for all versions. */
  function asVersion(bytes: Uint8Array, version: number, head: number): Uint8Array {
    const changed = bytes.slice();
    const view = new DataView(changed.buffer);
    if (head === HEADER_BYTES) {
      changed[3] = version;
      view.setUint32(4, crc32c(changed.subarray(8, HEADER_BYTES), view.getUint32(0, true)), true);
    } else {
      view.setUint32(4, version, true);
      view.setUint32(8, crc32c(changed.subarray(12), version), true);
    }
    return changed;
  }

  function expectRefused(world: World, version: number): void {
    const before = world.disk.image();
    expect(() => boot(world)).toThrow(
      new RegExp(
        `^the write-ahead log in wal/ has format ${version}, this release reads format ${FORMAT_VERSION}: nothing`,
      ),
    );
    expect(world.disk.image()).toEqual(before);
  }

  test.each([FORMAT_VERSION - 1, FORMAT_VERSION + 1, 99])('format %i is refused, and nothing is touched', (version) => {
    const world = createWorld(9);
    world.disk.restore(image());
    world.disk.put('wal/FORMAT', format(version));
    expectRefused(world, version);
  });

  test.each(['state-a', 'state-b', 'a segment'])('also when FORMAT is gone or damaged and only %s tells', (what) => {
    for (const bytes of [undefined, bodyOf('garbage')]) {
      const world = createWorld(10);
      world.disk.restore(image());
      if (bytes === undefined) world.disk.remove('wal/FORMAT');
      else world.disk.put('wal/FORMAT', bytes);
      const path =
        what === 'a segment' ? world.disk.files('wal/').find((name) => name.endsWith('.seg')) : `wal/${what}`;
      const known = world.disk.content(path as string) as Uint8Array;
      world.disk.put(path as string, asVersion(known, FORMAT_VERSION + 1, what === 'a segment' ? HEADER_BYTES : 12));
      expectRefused(world, FORMAT_VERSION + 1);
    }
  });

  test('a flipped bit in a version is damage, not another version', () => {
    for (const [path, at] of [
      ['wal/state-a', 4],
      ['wal/state-b', 5],
      ['wal/00000001.seg', 3],
    ] as const) {
      for (const withFormat of [true, false]) {
        const world = createWorld(11);
        world.disk.restore(image());
        if (!withFormat) world.disk.remove('wal/FORMAT');
        world.disk.flipBit(path, at, 0);
        expect(bootSurely(world).wal.recovered.size).toBe(2);
      }
    }
  });
});

test('runs of terms that fall are seen, those of unknown term are not', () => {
  const runs = new TermRuns();
  runs.append(1, 2);
  runs.append(4, 3);
  expect(runs.ascend()).toBe(true);
  runs.append(6, 0);
  runs.append(8, 3);
  expect(runs.ascend()).toBe(true);
  runs.append(9, 2);
  expect(runs.ascend()).toBe(false);
});
