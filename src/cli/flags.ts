// Flags as nats-server takes them (nats-surface §6.1): `-x v`, `-x=v`, `--x v`, `--x=v`, booleans bare or `=true|false`, the same name
// with one dash or two. A table per command; unknown flags are errors that name the nearest one. Pure.

export interface FlagSpec {
  /** All spellings, without dashes; the first is the one in help. */
  names: readonly string[];
  /** `unsupported`: a flag of nats-server that this server lacks; refused by its name, with `help` as the reason. */
  kind: 'boolean' | 'string' | 'integer' | 'unsupported';
  /** Placeholder in help. */
  value?: string;
  help: string;
}

export type FlagValues<Key extends string> = Partial<Record<Key, string | number | boolean>>;

export type ParsedFlags<Key extends string> =
  | { ok: true; values: FlagValues<Key>; rest: string[] }
  | { ok: false; error: string };

export function parseFlags<Key extends string>(
  table: Record<Key, FlagSpec>,
  args: readonly string[],
): ParsedFlags<Key> {
  const byName = new Map<string, Key>();
  for (const key of Object.keys(table) as Key[]) for (const name of table[key].names) byName.set(name, key);
  const values: FlagValues<Key> = {};
  const rest: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === '--') {
      rest.push(...args.slice(i + 1));
      break;
    }
    if (!arg.startsWith('-') || arg === '-') {
      rest.push(arg);
      continue;
    }
    const equals = arg.indexOf('=');
    const name = arg.slice(arg.startsWith('--') ? 2 : 1, equals < 0 ? undefined : equals);
    const key = byName.get(name);
    if (key === undefined) {
      const nearest = nearestName(name, byName.keys());
      return {
        ok: false,
        error: `unknown flag ${arg}; ${nearest ? `did you mean ${dashed(nearest)}?` : 'see --help'}`,
      };
    }
    const spec = table[key];
    if (spec.kind === 'unsupported') return { ok: false, error: `${dashed(name)} is not supported yet: ${spec.help}` };
    let text = equals < 0 ? undefined : arg.slice(equals + 1);
    if (spec.kind === 'boolean') {
      const value = BOOLEANS[text ?? 'true'];
      if (value === undefined) return { ok: false, error: `${dashed(name)} takes true or false, not "${text}"` };
      values[key] = value;
      continue;
    }
    if (text === undefined) {
      i++;
      text = args[i];
      if (text === undefined) return { ok: false, error: `${dashed(name)} needs a value` };
    }
    if (spec.kind === 'integer') {
      const number = Number(text);
      if (!Number.isSafeInteger(number) || text.trim() === '')
        return { ok: false, error: `${dashed(name)} needs a whole number, not "${text}"` };
      values[key] = number;
    } else {
      values[key] = text;
    }
  }
  return { ok: true, values, rest };
}

/** As nats-server reads them. */
const BOOLEANS: Record<string, boolean | undefined> = Object.fromEntries([
  ...['true', 'TRUE', 'True', 't', 'T', '1'].map((text) => [text, true]),
  ...['false', 'FALSE', 'False', 'f', 'F', '0'].map((text) => [text, false]),
]);

export function dashed(name: string): string {
  return name.length <= 2 ? `-${name}` : `--${name}`;
}

export function helpOf(table: Record<string, FlagSpec>): string {
  const specs = Object.values(table).filter(({ kind }) => kind !== 'unsupported');
  const rows = specs.map((spec) => {
    const flags = spec.names.map(dashed).join(', ') + (spec.value ? ` <${spec.value}>` : '');
    return { flags, help: spec.help };
  });
  const width = Math.max(...rows.map((row) => row.flags.length));
  return rows.map((row) => `  ${row.flags.padEnd(width)}  ${row.help}`).join('\n');
}

/** The known name with the smallest edit distance, when that is small enough to be a slip. */
export function nearestName(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 2)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
