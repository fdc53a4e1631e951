// The NATS configuration dialect (nats-surface §6.5) as a tree that knows the file and line of every key and value. Called by
// config-load.ts; what the keys mean is config-file.ts's matter. Pure: files and environment come in as functions.
// Invariant: a text either becomes a tree whole, or one error that names file and line; nothing is skipped silently.

export type ConfigData = string | number | boolean | Date | ConfigMap | ConfigValue[];

/** Keys as written; the last of equal keys wins. */
export type ConfigMap = Map<string, ConfigValue>;

export interface ConfigValue {
  data: ConfigData;
  file: string;
  /** Of the key for map entries, else of the value; from 1. */
  line: number;
  /** A `$name` referred to it: such a key need not be a directive. */
  isVariable: boolean;
}

/** The world outside the text. */
export interface ConfigWorld {
  variable(name: string): string | undefined;
  /** The text of an included file, or why there is none. */
  include(path: string, from: string): { ok: true; file: string; text: string } | { ok: false; error: string };
}

export type ParsedConfig = { ok: true; root: ConfigMap } | { ok: false; error: string };

const DEPTH_MAX = 64;
const INCLUDES_MAX = 10;
const SUFFIXES = 'kmgtpe';
const BCRYPT = /^\$2[abxy]\$/;
const SHORT_ESCAPES: Record<string, string> = { t: '\t', n: '\n', r: '\r', '"': '"', '\\': '\\' };

class ParseError extends Error {}

export function parseConfig(text: string, file: string, world: ConfigWorld): ParsedConfig {
  const root: ConfigMap = new Map();
  try {
    new Parser(text, file, world, [root], 0, []).file();
  } catch (error) {
    if (!(error instanceof ParseError)) throw error;
    return { ok: false, error: error.message };
  }
  return { ok: true, root };
}

class Parser {
  readonly #text: string;
  readonly #file: string;
  readonly #world: ConfigWorld;
  /** Enclosing maps, outermost first: where variables are looked up. */
  readonly #scopes: ConfigMap[];
  readonly #includes: number;
  /** Environment variables whose values are being parsed. */
  readonly #expanding: readonly string[];
  #at = 0;
  #line = 1;

  constructor(
    text: string,
    file: string,
    world: ConfigWorld,
    scopes: ConfigMap[],
    includes: number,
    expanding: readonly string[],
  ) {
    this.#text = text.replace(/^\uFEFF/, '');
    this.#file = file;
    this.#world = world;
    this.#scopes = scopes;
    this.#includes = includes;
    this.#expanding = expanding;
  }

  /** Entries up to the end of the text, or one JSON object. */
  file(): void {
    this.#skip(true);
    if (this.#peek() !== '{') {
      this.#entries(undefined);
      return;
    }
    const line = this.#line;
    this.#next();
    this.#entries(line);
    this.#skip(true);
    if (this.#peek() !== '') this.#fail(`nothing may follow the closing '}', but there is ${this.#shown()}`);
  }

  /** One value and nothing else: an environment variable's. */
  whole(): ConfigData {
    this.#skip(false);
    const data = this.#value('the variable');
    this.#skip(true);
    if (this.#peek() !== '') this.#fail(`a variable must hold one value, but there is ${this.#shown()} after it`);
    return data;
  }

  /** `openedAt`: line of the brace that a closing one must match; undefined: up to the end of the text. */
  #entries(openedAt: number | undefined): void {
    for (;;) {
      this.#skip(true);
      const c = this.#peek();
      if (c === '') {
        if (openedAt !== undefined) this.#fail(`the map that line ${openedAt} opens is not closed`);
        return;
      }
      if (c === '}' && openedAt !== undefined) {
        this.#next();
        return;
      }
      if (c === ',' || c === ';') {
        this.#fail(`expected a key, but there is ${this.#shown()}`);
      }
      this.#entry();
      this.#endOfValue(openedAt === undefined ? '' : '}');
    }
  }

  #entry(): void {
    const line = this.#line;
    const first = this.#peek();
    const isQuoted = first === '"' || first === "'";
    const key = isQuoted ? this.#quoted() : this.#take(/[^\s:={}[\](),;"'#]/);
    if (key === '') this.#fail(isQuoted ? 'a key must not be empty' : `expected a key, but there is ${this.#shown()}`);
    if (!isQuoted && key.toLowerCase() === 'include') {
      this.#include(line);
      return;
    }
    this.#skip(false);
    let c = this.#peek();
    if (c === '=' || c === ':') {
      this.#next();
      this.#skip(false);
      c = this.#peek();
    }
    // Only what opens with a bracket may start on a later line.
    if (c === '\n' || c === '#' || (c === '/' && this.#peek(1) === '/')) {
      const keyLine = this.#line;
      this.#skip(true);
      if (!'{[('.includes(this.#peek() || ' ')) this.#fail(`the key "${key}" has no value`, keyLine);
    }
    const data = this.#value(`the key "${key}"`);
    const scope = this.#scopes[this.#scopes.length - 1];
    scope.delete(key);
    scope.set(key, { data, file: this.#file, line, isVariable: false });
  }

  #value(what: string): ConfigData {
    const c = this.#peek();
    if (c === '{') return this.#map();
    if (c === '[') return this.#list();
    if (c === '(') return this.#block();
    if (c === '"' || c === "'") return this.#quoted();
    const line = this.#line;
    const text = this.#bare();
    if (text === '') this.#fail(c === '' || c === '\n' ? `${what} has no value` : `unexpected ${this.#shown()}`);
    if (text.startsWith('$') && !BCRYPT.test(text)) return this.#variable(text.slice(1), line);
    return this.#scalar(text);
  }

  #map(): ConfigMap {
    const line = this.#line;
    this.#next();
    const map: ConfigMap = new Map();
    this.#scopes.push(map);
    if (this.#scopes.length > DEPTH_MAX) this.#fail(`maps nest deeper than ${DEPTH_MAX}`);
    this.#entries(line);
    this.#scopes.pop();
    return map;
  }

  #list(): ConfigValue[] {
    const opened = this.#line;
    this.#next();
    // Scopes count the depth of lists too; an empty one changes no look-up.
    this.#scopes.push(new Map());
    if (this.#scopes.length > DEPTH_MAX) this.#fail(`lists nest deeper than ${DEPTH_MAX}`);
    const list: ConfigValue[] = [];
    for (;;) {
      this.#skip(true);
      const c = this.#peek();
      if (c === '') this.#fail(`the list that line ${opened} opens is not closed`);
      if (c === ']') break;
      const line = this.#line;
      list.push({ data: this.#value('the list'), file: this.#file, line, isVariable: false });
      this.#endOfValue(']');
    }
    this.#next();
    this.#scopes.pop();
    return list;
  }

  /** After a value: a separator, the end of the line, a comment, or what closes the enclosing map or list. */
  #endOfValue(closing: string): void {
    this.#skip(false);
    const c = this.#peek();
    if (c === '' || c === '\n' || c === '#' || (c === '/' && this.#peek(1) === '/')) {
      this.#skip(true);
      // JSON printers that lead lines with the comma.
      if (this.#peek() === ',') this.#next();
      return;
    }
    if (c === closing && closing !== '') return;
    if (c === ',' || c === ';') {
      this.#next();
      return;
    }
    this.#fail(`expected a value to end with a new line, a separator or a comment, but there is ${this.#shown()}`);
  }

  /** `( …` up to a `)` that stands alone on its line. */
  #block(): string {
    const opened = this.#line;
    const end = /\n[ \t]*\)[ \t\r]*(?=\n|$)/g;
    end.lastIndex = this.#at;
    const match = end.exec(this.#text);
    if (match === null) this.#fail(`the block that line ${opened} opens is not closed by a ')' alone on its line`);
    const text = this.#text.slice(this.#at + 1, match!.index);
    while (this.#at < end.lastIndex) this.#next();
    return text.replace(/^[ \t\r]*\n/, '');
  }

  #quoted(): string {
    const opened = this.#line;
    const quote = this.#next();
    let text = '';
    for (;;) {
      const c = this.#next();
      if (c === '') this.#fail(`the string that line ${opened} opens is not closed`);
      if (c === quote) return text;
      text += c === '\\' && quote === '"' ? this.#escape() : c;
    }
  }

  #bare(): string {
    let text = '';
    for (let c = this.#peek(); c !== '' && !/[\s,;\]}]/.test(c); c = this.#peek()) {
      this.#next();
      text += c === '\\' ? this.#escape() : c;
    }
    return text;
  }

  /** What follows a backslash; `\xHH` are bytes of UTF-8. */
  #escape(): string {
    const c = this.#next();
    if (c !== 'x') {
      const plain = SHORT_ESCAPES[c];
      if (plain === undefined) this.#fail(`"\\${c}" is not an escape; there are \\xHH, \\t, \\n, \\r, \\" and \\\\`);
      return plain;
    }
    const bytes: number[] = [];
    for (;;) {
      const digits = this.#text.slice(this.#at, this.#at + 2);
      if (!/^[0-9a-fA-F]{2}$/.test(digits)) this.#fail('\\x takes two hexadecimal digits');
      this.#at += 2;
      bytes.push(Number.parseInt(digits, 16));
      if (this.#text.slice(this.#at, this.#at + 2) !== '\\x') return new TextDecoder().decode(Uint8Array.from(bytes));
      this.#at += 2;
    }
  }

  #scalar(text: string): ConfigData {
    const lower = text.toLowerCase();
    if (lower === 'true' || lower === 'yes' || lower === 'on') return true;
    if (lower === 'false' || lower === 'no' || lower === 'off') return false;
    if (/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text)) {
      const date = new Date(text);
      if (Number.isNaN(date.getTime())) this.#fail(`"${text}" is not a date and time`);
      return date;
    }
    if (/^-?\d+\.\d+$/.test(text)) return Number(text);
    const size = parseSize(text);
    if (size === undefined) return text;
    if (!Number.isSafeInteger(size)) this.#fail(`${text} is out of range`);
    return size;
  }

  #variable(name: string, line: number): ConfigData {
    for (let i = this.#scopes.length - 1; i >= 0; i--) {
      const found = this.#scopes[i].get(name);
      if (found === undefined) continue;
      found.isVariable = true;
      return found.data;
    }
    if (this.#expanding.includes(name)) this.#fail(`variable $${name} refers to itself`, line);
    const text = this.#world.variable(name);
    if (text === undefined) this.#fail(`variable $${name} is not defined, here or in the environment`, line);
    try {
      const expanding = [...this.#expanding, name];
      return new Parser(text!, this.#file, this.#world, this.#scopes, this.#includes, expanding).whole();
    } catch (error) {
      if (!(error instanceof ParseError)) throw error;
      const reason = /'([\s\S]*)'$/.exec(error.message)?.[1] ?? error.message;
      this.#fail(reason.includes('$') ? reason : `variable $${name}: ${reason}`, line);
    }
  }

  #include(line: number): void {
    this.#skip(false);
    const c = this.#peek();
    const path = c === '"' || c === "'" ? this.#quoted() : this.#bare();
    if (path === '') this.#fail('include takes the path of a file', line);
    if (this.#includes >= INCLUDES_MAX) {
      this.#fail(`files include each other more than ${INCLUDES_MAX} deep`, line);
    }
    const found = this.#world.include(path, this.#file);
    if (!found.ok) this.#fail(`cannot include ${path}: ${found.error}`, line);
    else new Parser(found.text, found.file, this.#world, this.#scopes, this.#includes + 1, this.#expanding).file();
  }

  /** Over blanks and, if `lines`, over line ends and comments. */
  #skip(lines: boolean): void {
    for (;;) {
      const c = this.#peek();
      if (c === ' ' || c === '\t' || c === '\r' || (lines && c === '\n')) this.#next();
      else if (lines && (c === '#' || (c === '/' && this.#peek(1) === '/'))) {
        while (this.#peek() !== '' && this.#peek() !== '\n') this.#next();
      } else return;
    }
  }

  #take(allowed: RegExp): string {
    const from = this.#at;
    while (this.#at < this.#text.length && allowed.test(this.#text[this.#at])) this.#at++;
    return this.#text.slice(from, this.#at);
  }

  /** '' at the end. */
  #peek(ahead = 0): string {
    return this.#text[this.#at + ahead] ?? '';
  }

  #next(): string {
    const c = this.#text[this.#at] ?? '';
    this.#at++;
    if (c === '\n') this.#line++;
    return c;
  }

  #shown(): string {
    const c = this.#peek();
    return c === '' ? 'the end of the file' : c === '\n' ? 'the end of the line' : `'${c}'`;
  }

  #fail(reason: string, line = this.#line): never {
    throw new ParseError(`${this.#file}: Parse error on line ${line}: '${reason}'`);
  }
}

/** Whole numbers with an optional suffix: k = 1000; kb, ki, kib = 1024; so for m, g, t, p, e. Undefined: not such a number. */
export function parseSize(text: string): number | undefined {
  const match = /^(-?\d+)(?:([kmgtpe])(b|i|ib)?)?$/i.exec(text);
  if (match === null) return undefined;
  const [, digits, suffix, binary] = match;
  if (suffix === undefined) return Number(digits);
  return Number(digits) * (binary ? 1024 : 1000) ** (SUFFIXES.indexOf(suffix.toLowerCase()) + 1);
}

const UNIT_MS: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1e3, m: 60e3, h: 3600e3 };

/** `1m30s`, `100ms`, in milliseconds. Undefined: not a duration. */
export function parseDurationMs(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let ms = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g))
    ms += Number(number) * UNIT_MS[unit];
  return ms;
}
