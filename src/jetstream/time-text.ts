// What is wrong with a time in a request, in the reference server's words: which part of RFC 3339 is missing where, or which number is out of
// its range. Pure; used by strict-json.ts.

const LAYOUT = '2006-01-02T15:04:05Z07:00';
/** Parts of the layout in order: as the words name them, and what stands for them. */
const PARTS: [name: string, pattern: RegExp][] = [
  ['2006', /^\d{4}/],
  ['-', /^-/],
  ['01', /^\d\d/],
  ['-', /^-/],
  ['02', /^\d\d/],
  ['T', /^T/],
  ['15', /^\d\d/],
  [':', /^:/],
  ['04', /^\d\d/],
  [':', /^:/],
  ['05', /^\d\d(\.\d+)?/],
  ['Z07:00', /^(Z|[+-]\d\d:\d\d)/],
];
/** Where the numbers with a range stand, and what they may be. */
const RANGES: [what: string, at: number, min: number, max: number][] = [
  ['month', 5, 1, 12],
  ['hour', 11, 0, 23],
  ['minute', 14, 0, 59],
  ['second', 17, 0, 59],
];

/** Undefined: it is a time. */
export function timeRefusal(text: string): string | undefined {
  const met = JSON.stringify(text);
  let rest = text;
  for (const [name, pattern] of PARTS) {
    const match = pattern.exec(rest);
    if (match === null) return `parsing time ${met} as "${LAYOUT}": cannot parse ${JSON.stringify(rest)} as "${name}"`;
    rest = rest.slice(match[0].length);
  }
  if (rest !== '') return `parsing time ${met}: extra text: ${JSON.stringify(rest)}`;
  const beyond = RANGES.find(([, at, min, max]) => !isBetween(Number(text.slice(at, at + 2)), min, max));
  if (beyond !== undefined) return `parsing time ${met}: ${beyond[0]} out of range`;
  const days = daysOf(Number(text.slice(0, 4)), Number(text.slice(5, 7)));
  if (!isBetween(Number(text.slice(8, 10)), 1, days)) return `parsing time ${met}: day out of range`;
  const zone = text.endsWith('Z') ? '+00:00' : text.slice(-6);
  const isZone = isBetween(Number(zone.slice(1, 3)), 0, 23) && isBetween(Number(zone.slice(4)), 0, 59);
  return isZone ? undefined : `parsing time ${met}: time zone offset out of range`;
}

function isBetween(value: number, min: number, max: number): boolean {
  return value >= min && value <= max;
}

function daysOf(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}
