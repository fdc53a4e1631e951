// A stream with nothing special, as the API hands it on when only name and subjects were given. For tests and benches that need a configuration
// and are about something else; `USUAL_STREAM` also for those that look at what the API shows.
import type { StreamConfig } from '../../src/stream/config.ts';

export const USUAL_STREAM: Omit<StreamConfig, 'name'> = {
  retention: 'limits',
  max_consumers: -1,
  max_msgs: -1,
  max_bytes: -1,
  max_age: 0,
  max_msgs_per_subject: -1,
  max_msg_size: -1,
  discard: 'old',
  storage: 'file',
  num_replicas: 1,
  compression: 'none',
  allow_direct: false,
  mirror_direct: false,
  sealed: false,
  deny_delete: false,
  deny_purge: false,
  allow_rollup_hdrs: false,
  consumer_limits: {},
};

export function plainStream(name: string, change: Partial<StreamConfig> = {}): StreamConfig {
  return { name, ...USUAL_STREAM, consumer_limits: {}, ...change };
}
