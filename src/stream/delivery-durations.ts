// Go's notation of durations, both ways: clients send `-NAK 5s`, status frames print `1m0s`. Pure. Nanoseconds.

const UNIT_NS: Record<string, number> = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };
const PART = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y;

/** `1h30m`, `1.5s`, `300ms`, `0`; undefined when it is not a duration. */
export function parseGoDuration(text: string): number | undefined {
  const negative = text.startsWith('-');
  const body = text.replace(/^[+-]/, '');
  if (body === '0') return 0;
  let at = 0;
  let total = 0;
  while (at < body.length) {
    PART.lastIndex = at;
    const match = PART.exec(body);
    if (match === null) return undefined;
    total += Number(match[1]) * UNIT_NS[match[2]];
    at = PART.lastIndex;
  }
  if (at === 0) return undefined;
  return negative ? -total : total;
}

/** As Go prints a non-negative duration: `0s`, `1.5ms`, `2s`, `1m0s`, `1h0m0s`. */
export function formatGoDuration(ns: number): string {
  if (ns === 0) return '0s';
  if (ns < 1e3) return `${ns}ns`;
  if (ns < 1e6) return `${fraction(ns, 3)}µs`;
  if (ns < 1e9) return `${fraction(ns, 6)}ms`;
  const hours = Math.floor(ns / 3600e9);
  const minutes = Math.floor(ns / 60e9) % 60;
  const seconds = `${fraction(ns % 60e9, 9)}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}

/** `value / 10^digits` without trailing zeros. */
function fraction(value: number, digits: number): string {
  const scale = 10 ** digits;
  const rest = String(value % scale)
    .padStart(digits, '0')
    .replace(/0+$/, '');
  return rest === '' ? String(Math.floor(value / scale)) : `${Math.floor(value / scale)}.${rest}`;
}
