// Times and durations as monitoring prints them (nats-surface X2, VF*). Pure.

export const ZERO_TIME = '0001-01-01T00:00:00Z';

/** RFC 3339 with microseconds; 0 is "no time". */
export function rfc3339(us: number): string {
  if (us === 0) return ZERO_TIME;
  const fraction = String(us % 1_000_000).padStart(6, '0');
  return `${new Date(Math.floor(us / 1000)).toISOString().slice(0, 19)}.${fraction}Z`;
}

/** Like nats-server's uptime: `1d2h3m4s`, leading zero parts left out. */
export function uptimeText(us: number): string {
  const seconds = Math.max(0, Math.floor(us / 1_000_000));
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
  ] as const;
  const first = parts.findIndex(([value]) => value > 0);
  const shown = first < 0 ? [] : parts.slice(first);
  return `${shown.map(([value, unit]) => `${value}${unit}`).join('')}${seconds % 60}s`;
}
