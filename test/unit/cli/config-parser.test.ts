// The configuration dialect: a table of texts and what they mean, errors with their lines, includes and variables.
import { describe, expect, test } from 'vitest';
import { type ConfigData, parseConfig, parseDurationMs, parseSize } from '../../../src/cli/config-parser.ts';

interface World {
  env?: Record<string, string>;
  files?: Record<string, string>;
}

function parse(text: string, { env = {}, files = {} }: World = {}) {
  return parseConfig(text, 'a.conf', {
    variable: (name) => env[name],
    include: (path) =>
      files[path] === undefined ? { ok: false, error: 'no such file' } : { ok: true, file: path, text: files[path] },
  });
}

function plain(data: ConfigData): unknown {
  if (data instanceof Map) return Object.fromEntries([...data].map(([key, value]) => [key, plain(value.data)]));
  if (Array.isArray(data)) return data.map((item) => plain(item.data));
  return data;
}

function tree(text: string, world?: World): unknown {
  const parsed = parse(text, world);
  return parsed.ok ? plain(parsed.root) : parsed.error;
}

describe('configuration dialect', () => {
  test.each<[string, string, unknown]>([
    ['nothing', '', {}],
    ['comments', '# a\n// b\nport: 1 # c\nhost: h // d\n', { port: 1, host: 'h' }],
    ['separators of key and value', 'a = 1\nb: 2\nc 3\nd=4\ne:5', { a: 1, b: 2, c: 3, d: 4, e: 5 }],
    ['separators of entries', 'a: 1, b: 2; c: 3\nd: 4,\ne: 5;\n', { a: 1, b: 2, c: 3, d: 4, e: 5 }],
    ['quoted keys', '"a b": 1\n\'c\' = 2', { 'a b': 1, c: 2 }],
    ['maps', 'a { b: 1 }\nc = {\n d: 2\n}\ne{f:{}}', { a: { b: 1 }, c: { d: 2 }, e: { f: {} } }],
    ['a brace on the next line', 'a:\n{\n b: 1\n}\nc # d\n[1]', { a: { b: 1 }, c: [1] }],
    ['lists', 'a: [1, "b", c]\nd [\n 1\n 2, # x\n 3\n]\ne: []', { a: [1, 'b', 'c'], d: [1, 2, 3], e: [] }],
    ['maps in lists', 'a: [{b: 1}, {b: 2}\n {b: 3}]', { a: [{ b: 1 }, { b: 2 }, { b: 3 }] }],
    ['whole-file JSON', ' {"a": {"b": [1, 2]},\n "c": true, "d": "x"}\n# end\n', { a: { b: [1, 2] }, c: true, d: 'x' }],
    ['escapes', 'a: "x\\ty\\n\\"\\\\ \\x41\\xc3\\xa9"', { a: 'x\ty\n"\\ Aé' }],
    ['raw strings', 'a: \'x\\ty "$Z"\'', { a: 'x\\ty "$Z"' }],
    [
      'bare strings',
      'a: nats://u:p@h:1/x#y\nb: 127.0.0.1:-1\nc: 2s',
      { a: 'nats://u:p@h:1/x#y', b: '127.0.0.1:-1', c: '2s' },
    ],
    ['block strings', 'a: (\n one\n  two )\n)\nb: 1', { a: ' one\n  two )', b: 1 }],
    [
      'booleans',
      'a: true\nb: YES\nc: on\nd: false\ne: No\nf: off\ng: "true"',
      { a: true, b: true, c: true, d: false, e: false, f: false, g: 'true' },
    ],
    [
      'numbers',
      'a: -1\nb: 2.5\nc: 1k\nd: 1kb\ne: 2MiB\nf: 1G\ng: 1gi',
      { a: -1, b: 2.5, c: 1000, d: 1024, e: 2 << 20, f: 1e9, g: 1 << 30 },
    ],
    ['a date', 'a: 2026-01-02T03:04:05Z', { a: new Date('2026-01-02T03:04:05Z') }],
    ['the last of equal keys', 'a: 1\nb: 2\na: 3', { a: 3, b: 2 }],
    ['CRLF and a byte order mark', '\uFEFFa: 1\r\nb {\r\n c: x\r\n}\r\n', { a: 1, b: { c: 'x' } }],
    ['hashes are no variables', 'a: $2a$11$abc', { a: '$2a$11$abc' }],
    [
      'variables of enclosing scopes',
      'x: 7\na { x: 8\n b { y: $x } }\nz: $x',
      { x: 7, a: { x: 8, b: { y: 8 } }, z: 7 },
    ],
  ])('%s', (_what, text, expected) => {
    expect(tree(text)).toEqual(expected);
  });

  test('variables of the environment are parsed as values', () => {
    const env = { P: '4222', L: '[1, 2]', S: "'a b'", A: '$P', M: '10mb' };
    expect(tree('a: $P\nb: $L\nc: $S\nd: $A\ne: $M', { env })).toEqual({
      a: 4222,
      b: [1, 2],
      c: 'a b',
      d: 4222,
      e: 10 << 20,
    });
    expect(tree('P: 1\na: $P', { env })).toEqual({ P: 1, a: 1 });
    expect(tree('\na: $A', { env: { A: '$B', B: '$A' } })).toMatch(/^a.conf: Parse error on line 2: 'variable \$A/);
    expect(tree('a: $A', { env: { A: '1 2' } })).toBe(
      "a.conf: Parse error on line 1: 'variable $A: a variable must hold one value, but there is '2' after it'",
    );
  });

  test('a key that a variable refers to is marked', () => {
    const parsed = parse('TOKEN: x\nother: y\nt: $TOKEN');
    expect(parsed.ok && [...parsed.root.values()].map((value) => value.isVariable)).toEqual([true, false, false]);
  });

  test('includes stand where a key may, and know the scopes around them', () => {
    const files = { 'b.conf': 'c: $x\nx: 2', 'd.conf': '{"e": 1}', 'f.conf': 'a\nb: }', 'g.conf': 'include g.conf' };
    expect(tree('x: 1\ninclude "b.conf"\na { include d.conf }', { files })).toEqual({ x: 2, c: 1, a: { e: 1 } });
    const parsed = parse('\ninclude b.conf', { files, env: { x: '5' } });
    expect(parsed.ok && parsed.root.get('x')).toMatchObject({ file: 'b.conf', line: 2 });
    expect(tree('include f.conf', { files })).toMatch(/^f.conf: Parse error on line 1: /);
    expect(tree('\ninclude h.conf')).toBe("a.conf: Parse error on line 2: 'cannot include h.conf: no such file'");
    expect(tree('include g.conf', { files })).toMatch(/^g.conf: Parse error on line 1: 'files include each other/);
  });

  test.each<[string, number, string]>([
    ['{"jetstream": true,\n "port": 4567', 2, 'the map that line 1 opens is not closed'],
    ['a: [1,\n\n2', 3, 'the list that line 1 opens is not closed'],
    ['a: 1\nb: "x\ny', 3, 'the string that line 2 opens is not closed'],
    ['a: (\nx\n)y', 1, "the block that line 1 opens is not closed by a ')' alone on its line"],
    ['debug\nport: 1', 1, 'the key "debug" has no value'],
    ['a: 1\nport:', 2, 'the key "port" has no value'],
    ['a: b c', 1, "expected a value to end with a new line, a separator or a comment, but there is 'c'"],
    ['\n}', 2, "expected a key, but there is '}'"],
    ['{a: 1} b', 1, "nothing may follow the closing '}', but there is 'b'"],
    ['a: "\\q"', 1, '"\\q" is not an escape; there are \\xHH, \\t, \\n, \\r, \\" and \\\\'],
    ['\na: $NOPE', 2, 'variable $NOPE is not defined, here or in the environment'],
    ['a: 99e', 1, '99e is out of range'],
    ['"": 1', 1, 'a key must not be empty'],
  ])('%j fails on line %i', (text, line, reason) => {
    expect(tree(text)).toBe(`a.conf: Parse error on line ${line}: '${reason}'`);
  });

  test('any prefix of a text parses or is one error; deep nesting is an error', () => {
    const text = 'a { b: [1, {c: "x\\t"}], d: (\n y\n)\n}\ninclude \'z\' // e\nf = $a; "g" 2kb\n';
    for (let length = 0; length <= text.length; length++) {
      const result = tree(text.slice(0, length), { files: { z: 'h: 1' } });
      if (typeof result === 'string') expect(result).toMatch(/^a.conf: Parse error on line \d+: '[\s\S]+'$/);
    }
    expect(tree(`a: ${'['.repeat(5000)}`)).toMatch(/nest deeper/);
    expect(tree('a{'.repeat(5000))).toMatch(/nest deeper/);
  });

  test('durations and sizes', () => {
    expect(['2s', '100ms', '1m30s', '1.5h', '500us'].map(parseDurationMs)).toEqual([2000, 100, 90_000, 5_400_000, 0.5]);
    expect(['', '2', 's', '2x', '-1s', '2s '].map(parseDurationMs)).toEqual(Array(6).fill(undefined));
    expect(['1', '1K', '1kB', '3gib', '', 'k', '1kk'].map(parseSize)).toEqual([
      1,
      1000,
      1024,
      3 * 2 ** 30,
      undefined,
      undefined,
      undefined,
    ]);
  });
});
