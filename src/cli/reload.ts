// What a new configuration may change while the server runs (nats-surface §6.6). Called on SIGHUP by server-command.ts. Pure. Invariant:
// either all of a new configuration takes effect or none of it; what cannot change says so and leaves the old one in place.
import type { ServerConfig } from './server-config.ts';

/** Take effect at once; everything else needs a restart. */
const LIVE: ReadonlySet<keyof ServerConfig> = new Set([
  'auth',
  'limits',
  'lameDuckGraceMs',
  'lameDuckMs',
  'debug',
  'trace',
]);

export interface ReloadPlan {
  /** Keys that changed and can. */
  changed: (keyof ServerConfig)[];
  /** Keys that changed and can not. */
  refused: (keyof ServerConfig)[];
}

export function planReload(before: ServerConfig, after: ServerConfig): ReloadPlan {
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof ServerConfig>;
  const differing = [...keys].filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]));
  return {
    changed: differing.filter((key) => LIVE.has(key)),
    refused: differing.filter((key) => !LIVE.has(key)),
  };
}
