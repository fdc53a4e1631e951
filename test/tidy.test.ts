// House rules as a test: which room may import which, purity of what decides, sizes, and what may not stand in the code.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '..');
const LINES_MAX = 700;

/** Room -> rooms that it may import (besides itself). */
const MAY_IMPORT: Record<string, string[]> = {
  'src/kit': [],
  'src/subjects': ['src/kit'],
  'src/auth': ['src/kit', 'src/subjects'],
  'cluster/core': ['src/kit'],
  'cluster/wal': ['src/kit', 'cluster/core'],
  'cluster/store': ['src/kit', 'cluster/core'],
  'cluster/rpc': ['src/kit', 'cluster/core'],
  'cluster/host': ['src/kit', 'cluster/core', 'cluster/wal', 'cluster/rpc', 'cluster/store'],
  'src/broker': ['src/kit', 'src/subjects', 'cluster/rpc', 'cluster/core'],
  'src/net': ['src/kit'],
  'src/protocols/nats': ['src/kit', 'src/subjects', 'src/broker', 'src/auth', 'src/net'],
  'src/stream': ['src/kit', 'src/subjects', 'cluster/core', 'cluster/host'],
  'src/meta': ['src/kit', 'src/subjects', 'src/stream', 'cluster/core', 'cluster/host', 'cluster/rpc'],
  'src/jetstream': [
    'src/kit',
    'src/subjects',
    'src/broker',
    'src/stream',
    'src/meta',
    'cluster/core',
    'cluster/rpc',
    'cluster/host',
  ],
  'src/monitoring': [
    'src/kit',
    'src/subjects',
    'src/stream',
    'src/jetstream',
    'cluster/host',
    'cluster/wal',
    'cluster/rpc',
    'cluster/core',
  ],
};

/** Files that decide and do nothing else: no clock, chance, promise or node:* of their own. */
const PURE = [
  /^cluster\/core\//,
  /^src\/subjects\//,
  /-machine\.ts$/,
  /^src\/stream\/machine\.ts$/,
  /-codec\.ts$/,
  /\/placement\.ts$/,
  /\/parser\.ts$/,
];

const NODE_ROOMS = ['src/kit', 'src/cli', 'src/monitoring', 'cluster/store', 'test', 'chaos', 'bench'];

// Read from the disk: git lists nothing of an unpacked archive, nor of a checkout that is somebody else's.
const product = ['src', 'cluster']
  .flatMap((top) => readdirSync(join(ROOT, top), { recursive: true, encoding: 'utf8' }).map((file) => join(top, file)))
  .filter((file) => /\.(ts|mjs)$/.test(file) && !file.includes('.generated.'));

function roomOf(file: string): string | undefined {
  return Object.keys(MAY_IMPORT)
    .filter((room) => file.startsWith(`${room}/`))
    .sort((a, b) => b.length - a.length)[0];
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]);
}

function findings(check: (file: string, text: string) => string[]): string[] {
  return product.flatMap((file) =>
    check(file, readFileSync(join(ROOT, file), 'utf8')).map((finding) => `${file}: ${finding}`),
  );
}

describe('house rules', () => {
  test('rooms import only what they may', () => {
    const wrong = findings((file) => {
      const room = roomOf(file);
      if (room === undefined) return [];
      return importsOf(file).flatMap((target) => {
        if (!target.startsWith('.')) return [];
        const other = roomOf(relative(ROOT, resolve(ROOT, dirname(file), target)));
        return other === undefined || other === room || MAY_IMPORT[room].includes(other) ? [] : [`imports ${target}`];
      });
    });
    expect(wrong).toEqual([]);
  });

  test('node:* stays in the rooms that touch the machine', () => {
    const wrong = findings((file) =>
      NODE_ROOMS.some((room) => file.startsWith(`${room}/`)) || ['src/server.ts', 'src/index.ts'].includes(file)
        ? []
        : importsOf(file).filter((target) => target.startsWith('node:')),
    );
    expect(wrong).toEqual([]);
  });

  test('what decides has no clock, chance or promise of its own', () => {
    const wrong = findings((file, text) => {
      if (!PURE.some((pattern) => pattern.test(file))) return [];
      const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
      return [
        ...code.matchAll(/\b(Date\.now|new Date\(\)|Math\.random|setTimeout|setInterval|setImmediate|Promise|async )/g),
      ].map((match) => `uses ${match[1]}`);
    });
    expect(wrong).toEqual([]);
  });

  test('level is asked by those alone who can do without: never for hard state', () => {
    const askers = product.filter(
      (file) => !file.startsWith('src/kit/') && /\.openKv\(/.test(readFileSync(join(ROOT, file), 'utf8')),
    );
    expect(askers).toEqual(['cluster/host/scrub-memory.ts']);
  });

  test('no file has grown beyond its seams, and each says what it is', () => {
    const wrong = findings((_file, text) => {
      const lines = text.split('\n').length;
      const opening = text.replace(/^#!.*\n/, '').startsWith('//');
      return [...(lines > LINES_MAX ? [`${lines} lines`] : []), ...(opening ? [] : ['does not open with what it is'])];
    });
    expect(wrong).toEqual([]);
  });

  test('no loose ends in product code', () => {
    const wrong = findings((_file, text) => {
      const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$|'[^'\n]*'/gm, '');
      const ends = [
        ...code.matchAll(/\bas any\b|: any\b|catch \(?\w*\)? ?\{ ?\}/g),
        ...text.matchAll(/@ts-ignore|\bTODO\b|\bFIXME\b/g),
      ];
      return ends.map((match) => match[0]);
    });
    expect(wrong).toEqual([]);
  });

  test('every room has a page', () => {
    const rooms = Object.keys(MAY_IMPORT).filter((room) => product.some((file) => file.startsWith(`${room}/`)));
    expect(rooms.filter((room) => !existsSync(join(ROOT, room, 'README.md')))).toEqual([]);
  });

  test('the page of a room names every file of it', () => {
    const rooms = [...Object.keys(MAY_IMPORT), 'src/cli', 'bench', 'chaos'];
    const unnamed = rooms.flatMap((room) => {
      const page = readFileSync(join(ROOT, room, 'README.md'), 'utf8');
      // A name, or a pattern like `delivery*.ts`.
      const named = [...page.matchAll(/`([\w.*-]+)`/g)].map(([, name]) =>
        name.replaceAll('.', '\\.').replaceAll('*', '.*'),
      );
      const isNamed = (file: string) => named.some((name) => new RegExp(`^${name}$`).test(file));
      return readdirSync(join(ROOT, room))
        .filter((file) => /\.(ts|mjs)$/.test(file) && !isNamed(file))
        .map((file) => `${room}/README.md does not name ${file}`);
    });
    expect(unnamed).toEqual([]);
  });
});
