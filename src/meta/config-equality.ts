// When is creating an existing stream the same create again? Pure; used by the meta machine at `apply` (nats-surface X10).
import type { StreamConfig } from '../stream/config.ts';

/** Deep equality of configurations after defaults. Absent, undefined and empty objects are one; metadata that servers add to
 * answers (`_nats.…`) does not count; the order of lists does. */
export function equalConfigs(a: StreamConfig, b: StreamConfig): boolean {
  return equal(withoutServerMetadata(a), withoutServerMetadata(b));
}

function withoutServerMetadata(config: StreamConfig): StreamConfig {
  if (config.metadata === undefined) return config;
  const kept = Object.entries(config.metadata).filter(([key]) => !key.startsWith('_nats.'));
  return { ...config, metadata: Object.fromEntries(kept) };
}

function equal(a: unknown, b: unknown): boolean {
  if (isAbsent(a) || isAbsent(b)) return isAbsent(a) && isAbsent(b);
  if (typeof a !== 'object' || typeof b !== 'object') return a === b;
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, i) => equal(item, b[i]));
  }
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
    if (!equal(left[key], right[key])) return false;
  }
  return true;
}

function isAbsent(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return typeof value === 'object' && !Array.isArray(value) && Object.values(value).every(isAbsent);
}
