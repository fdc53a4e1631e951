// JSON requests as the reference server reads them (nats-surface X3): unknown keys are refused, keys match without case, numbers keep
// their text, and every refusal names what it met in the reference's words. Pure. Called by the decoders of requests; the result
// has exactly the fields of its schema, absent where the request had none or null.

import { timeRefusal } from './time-text.ts';

/** Deeper nesting is refused; no request of ours needs more than five levels. */
const DEPTH_MAX = 64;

type Node =
  | { kind: 'object'; start: number; end: number; entries: [key: string, node: Node][] }
  | { kind: 'array'; start: number; end: number; items: Node[] }
  | { kind: 'string'; start: number; end: number; text: string }
  | { kind: 'number'; start: number; end: number }
  | { kind: 'bool'; start: number; end: number; value: boolean }
  | { kind: 'null'; start: number; end: number };

/** Where a value stands, and what was wrong. */
interface Reading {
  source: string;
  /** Unknown keys are passed over. */
  isLenient: boolean;
  /** The first thing that was wrong; reading goes on. */
  error: string | undefined;
  /** Of a type with words of its own: the reference stops there, and tells of it alone. */
  fatal: string | undefined;
}

/** How one value is read: `undefined` with `reading.error` set when it does not fit. `place` is the words for "Go …". */
export interface Field<T> {
  /** As error texts name it. */
  readonly type: string;
  /** null is read like any other value instead of meaning "absent". */
  readonly takesNull?: true;
  read(node: Node, place: string, reading: Reading): T | undefined;
}

export type Fields = Record<string, Field<unknown>>;
export type Decoded<F extends Fields> = { [K in keyof F]?: F[K] extends Field<infer T> ? T : never };

/** A request: the reference's name of its structure, and of a structure embedded in it. */
export interface Schema<F extends Fields> {
  struct: string;
  path: string[];
  fields: F;
}

export function schema<F extends Fields>(struct: string, fields: F, path: string[] = []): Schema<F> {
  return { struct, path, fields };
}

/** The decoded request, or what is wrong with it (the `{err}` of error 10025). Nothing at all is an empty object. */
export function decodeStrict<F extends Fields>(body: Uint8Array, of: Schema<F>): Decoded<F> | string {
  return decodeJson(body, of, false);
}

/** As decodeStrict, but unknown keys are passed over. */
export function decodeLenient<F extends Fields>(body: Uint8Array, of: Schema<F>): Decoded<F> | string {
  return decodeJson(body, of, true);
}

function decodeJson<F extends Fields>(body: Uint8Array, of: Schema<F>, isLenient: boolean): Decoded<F> | string {
  const source = decoder.decode(body);
  if (source === '') return {};
  const parsed = new Parser(source).parse();
  if (typeof parsed === 'string') return parsed;
  const reading: Reading = { source, isLenient, error: undefined, fatal: undefined };
  if (parsed.kind === 'null') return {};
  if (parsed.kind !== 'object') return mismatch(parsed, `value`, `server.${of.struct}`, reading);
  const decoded = readFields(parsed, of, reading);
  return reading.fatal ?? reading.error ?? decoded;
}

/** Does the body begin like JSON? Some requests take anything else as "no options". */
export function looksLikeJson(body: Uint8Array): boolean {
  for (const byte of body) {
    if (byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d) continue;
    return byte === 0x7b || byte === 0x5b;
  }
  return false;
}

// ---- fields ------------------------------------------------------------------------------------------------------------

export const text: Field<string> = {
  type: 'string',
  read: (node, place, reading) => (node.kind === 'string' ? node.text : wrong(node, place, 'string', reading)),
};

export const flag: Field<boolean> = {
  type: 'bool',
  read: (node, place, reading) => (node.kind === 'bool' ? node.value : wrong(node, place, 'bool', reading)),
};

function integer(type: string, bits: number, isSigned: boolean): Field<number> {
  const max = 2n ** BigInt(isSigned ? bits - 1 : bits) - 1n;
  const min = isSigned ? -max - 1n : 0n;
  /** The largest double that is still of the type. */
  const most = bits > 53 ? Number(max) - 2 ** (bits - (isSigned ? 54 : 53)) : Number(max);
  return {
    type,
    read(node, place, reading) {
      if (node.kind !== 'number') return wrong(node, place, type, reading);
      const source = reading.source.slice(node.start, node.end);
      if ((isSigned ? /^-?\d+$/ : /^\d+$/).test(source) && isWithin(source, min, max))
        return Math.min(Number(source), most);
      fail(reading, `json: cannot unmarshal number ${source} into Go ${place} of type ${type}`);
      return undefined;
    },
  };
}

function isWithin(digits: string, min: bigint, max: bigint): boolean {
  if (digits.length > 20) return false;
  const value = BigInt(digits);
  return value >= min && value <= max;
}

// Above 2^53 the next double is taken, at most the largest one of the type: "as many as there can be" stays that.
export const int = integer('int', 64, true);
export const int64 = integer('int64', 64, true);
export const int32 = integer('int32', 32, true);
export const uint64 = integer('uint64', 64, false);
export const nanoseconds = integer('time.Duration', 64, true);

export function list<T>(of: Field<T>): Field<T[]> {
  const type = `[]${of.type}`;
  return {
    type,
    read(node, place, reading) {
      if (node.kind !== 'array') return wrong(node, place, type, reading);
      const items: T[] = [];
      for (const item of node.items) {
        const value = of.read(item, place, reading);
        if (value !== undefined) items.push(value);
      }
      return items;
    },
  };
}

export const textMap: Field<Record<string, string>> = {
  type: 'map[string]string',
  read(node, place, reading) {
    if (node.kind !== 'object') return wrong(node, place, 'map[string]string', reading);
    const map: Record<string, string> = {};
    for (const [key, item] of node.entries) {
      const value = item.kind === 'null' ? '' : text.read(item, place, reading);
      if (value !== undefined) Object.defineProperty(map, key, { value, enumerable: true, writable: true });
    }
    return map;
  },
};

/** One of a few words. `unknown` words the refusal from the JSON text of the value. */
export function oneOf<T extends string>(
  words: readonly T[],
  unknown: (source: string) => string = (source) => `can not unmarshal ${quoted(source)}`,
): Field<T> {
  return wordField(words, unknown, (text) => text);
}

/** As oneOf, in capitals or not. */
export function oneOfAnyCase<T extends string>(words: readonly T[]): Field<T> {
  return wordField(
    words,
    (source) => `can not unmarshal ${quoted(source)}`,
    (text) => text.toLowerCase(),
  );
}

function wordField<T extends string>(
  words: readonly T[],
  unknown: (source: string) => string,
  normal: (text: string) => string,
): Field<T> {
  return {
    type: 'string',
    takesNull: true,
    read(node, _place, reading) {
      const found = node.kind === 'string' ? words.find((word) => word === normal(node.text)) : undefined;
      if (found === undefined) stop(reading, unknown(reading.source.slice(node.start, node.end)));
      return found;
    },
  };
}

/** RFC 3339 text, kept as text. */
export const time: Field<string> = {
  type: 'time.Time',
  read(node, _place, reading) {
    const refused = node.kind === 'string' ? timeRefusal(node.text) : 'Time.UnmarshalJSON: input is not a JSON string';
    if (refused !== undefined) stop(reading, refused);
    return node.kind === 'string' && refused === undefined ? node.text : undefined;
  },
};

export function object<F extends Fields>(struct: string, fields: F): Field<Decoded<F>> {
  return {
    type: `server.${struct}`,
    read(node, place, reading) {
      if (node.kind !== 'object') return wrong(node, place, `server.${struct}`, reading);
      const outer = place.slice(place.indexOf('.') + 1);
      return readFields(node, { struct, path: [outer], fields }, reading);
    },
  };
}

/** Anything, remembered only as given or not: for options whose content is refused anyway. */
export const anything: Field<'given' | 'empty'> = {
  type: 'any',
  read(node) {
    const isEmpty =
      (node.kind === 'object' && node.entries.length === 0) ||
      (node.kind === 'array' && node.items.length === 0) ||
      (node.kind === 'string' && node.text === '') ||
      (node.kind === 'bool' && !node.value);
    return isEmpty ? 'empty' : 'given';
  },
};

function readFields<F extends Fields>(
  node: Extract<Node, { kind: 'object' }>,
  of: Schema<F>,
  reading: Reading,
): Decoded<F> {
  const decoded: Record<string, unknown> = {};
  for (const [key, item] of node.entries) {
    const name = Object.hasOwn(of.fields, key) ? key : key.toLowerCase();
    if (!Object.hasOwn(of.fields, name)) {
      if (!reading.isLenient) fail(reading, `json: unknown field ${quoted(key)}`);
      continue;
    }
    const field = of.fields[name];
    if (item.kind === 'null' && field.takesNull !== true) continue;
    const value = field.read(item, `struct field ${of.struct}.${[...of.path, name].join('.')}`, reading);
    if (value !== undefined) decoded[name] = value;
  }
  return decoded as Decoded<F>;
}

function wrong(node: Node, place: string, type: string, reading: Reading): undefined {
  mismatch(node, place, type, reading);
  return undefined;
}

function mismatch(node: Node, place: string, type: string, reading: Reading): string {
  const text = `json: cannot unmarshal ${node.kind} into Go ${place} of type ${type}`;
  fail(reading, text);
  return text;
}

function fail(reading: Reading, error: string): void {
  reading.error ??= error;
}

function stop(reading: Reading, error: string): void {
  reading.fatal ??= error;
}

function quoted(text: string): string {
  return JSON.stringify(text);
}

// ---- syntax ------------------------------------------------------------------------------------------------------------

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const NUMBER = /-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const WORDS: [text: string, value: boolean | null][] = [
  ['true', true],
  ['false', false],
  ['null', null],
];

/** Thrown by the parser to leave its recursion; never leaves this file. */
class SyntaxFault extends Error {}

class Parser {
  readonly #source: string;
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#source = source;
  }

  parse(): Node | string {
    try {
      const node = this.#value('looking for beginning of value');
      this.#space();
      if (this.#at < this.#source.length) this.#unexpected('looking for beginning of value');
      return node;
    } catch (fault) {
      if (fault instanceof SyntaxFault) return fault.message;
      throw fault;
    }
  }

  #value(context: string): Node {
    this.#space();
    const start = this.#at;
    const char = this.#source[start];
    if (char === '{') return this.#object(start);
    if (char === '[') return this.#array(start);
    if (char === '"') {
      const text = this.#string();
      return { kind: 'string', start, end: this.#at, text };
    }
    for (const [word, value] of WORDS) {
      if (!this.#source.startsWith(word, start)) continue;
      this.#at += word.length;
      return value === null ? { kind: 'null', start, end: this.#at } : { kind: 'bool', start, end: this.#at, value };
    }
    NUMBER.lastIndex = start;
    const match = NUMBER.exec(this.#source);
    if (match === null) return this.#unexpected(context);
    this.#at += match[0].length;
    return { kind: 'number', start, end: this.#at };
  }

  #object(start: number): Node {
    this.#enter();
    const entries: [string, Node][] = [];
    for (;;) {
      this.#space();
      if (entries.length === 0 && this.#take('}')) break;
      if (this.#source[this.#at] !== '"') this.#unexpected('looking for beginning of object key string');
      const key = this.#string();
      this.#space();
      if (!this.#take(':')) this.#unexpected('after object key');
      entries.push([key, this.#value('looking for beginning of value')]);
      this.#space();
      if (this.#take('}')) break;
      if (!this.#take(',')) this.#unexpected('after object key:value pair');
    }
    this.#depth--;
    return { kind: 'object', start, end: this.#at, entries };
  }

  #array(start: number): Node {
    this.#enter();
    const items: Node[] = [];
    for (;;) {
      this.#space();
      if (items.length === 0 && this.#take(']')) break;
      items.push(this.#value('looking for beginning of value'));
      this.#space();
      if (this.#take(']')) break;
      if (!this.#take(',')) this.#unexpected('after array element');
    }
    this.#depth--;
    return { kind: 'array', start, end: this.#at, items };
  }

  #string(): string {
    const start = this.#at++;
    for (;;) {
      const code = this.#source.charCodeAt(this.#at);
      if (Number.isNaN(code) || code < 0x20) this.#unexpected('in string literal');
      this.#at++;
      if (code === 0x22) break;
      if (code !== 0x5c) continue;
      const escaped = /["\\/bfnrt]|u[0-9a-fA-F]{4}/y;
      escaped.lastIndex = this.#at;
      const match = escaped.exec(this.#source);
      if (match === null) return this.#unexpected('in string escape code');
      this.#at += match[0].length;
    }
    return JSON.parse(this.#source.slice(start, this.#at));
  }

  #enter(): void {
    this.#at++;
    if (++this.#depth > DEPTH_MAX) throw new SyntaxFault('exceeded max depth');
  }

  #take(char: string): boolean {
    if (this.#source[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    while (' \t\r\n'.includes(this.#source[this.#at] ?? 'x')) this.#at++;
  }

  #unexpected(context: string): never {
    const char = this.#source[this.#at];
    if (char === undefined) throw new SyntaxFault('unexpected EOF');
    const shown = char === "'" ? "'\\''" : char === '"' ? `'"'` : `'${quoted(char).slice(1, -1)}'`;
    throw new SyntaxFault(`invalid character ${shown} ${context} at offset ${this.#at + 1}`);
  }
}
