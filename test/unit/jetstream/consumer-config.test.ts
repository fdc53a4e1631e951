// Defaults and rules of consumer configurations that conformance does not reach through a client.
import { describe, expect, test } from 'vitest';
import {
  type CreateForm,
  checkForm,
  completeConsumerConfig,
  decodeConsumerRequest,
} from '../../../src/jetstream/consumer-config.ts';
import { completeStreamConfig, decodeStreamRequest } from '../../../src/jetstream/stream-config.ts';
import type { StreamConfig } from '../../../src/stream/config.ts';
import { isApiError } from '../../../src/stream/errors.ts';

const bytes = (value: object) => new TextEncoder().encode(JSON.stringify(value));
const FORM: CreateForm = { stream: 'S', consumer: 'C', filter: '', isDurable: false };

function stream(fields: object = {}): StreamConfig {
  const request = decodeStreamRequest(bytes({ name: 'S', subjects: ['s.>'], ...fields }));
  if (isApiError(request)) throw new Error(request.description);
  return completeStreamConfig(request, { clustered: true, defaultReplicas: 3 }) as StreamConfig;
}

function complete(config: object, of: StreamConfig = stream(), form: CreateForm = FORM) {
  const request = decodeConsumerRequest(bytes({ stream_name: 'S', config }));
  if (isApiError(request)) return request;
  return checkForm(request, form) ?? completeConsumerConfig(request, form, of, () => 'generated');
}

describe('defaults', () => {
  test('of a push consumer', () => {
    expect(complete({ deliver_subject: 'd', ack_policy: 'explicit' })).toEqual({
      name: 'C',
      deliver_policy: 'all',
      ack_policy: 'explicit',
      ack_wait: 30e9,
      max_deliver: -1,
      replay_policy: 'instant',
      max_ack_pending: 1000,
      deliver_subject: 'd',
      inactive_threshold: 5e9,
      num_replicas: 0,
    });
  });

  test('names', () => {
    const named = (config: object, form: Partial<CreateForm>) => {
      const result = complete(config, stream(), { ...FORM, ...form });
      return isApiError(result) ? result.err_code : [result.name, result.durable_name];
    };
    expect(named({}, { consumer: '' })).toEqual(['generated', undefined]);
    expect(named({ name: 'x' }, { consumer: '' })).toEqual(['x', undefined]);
    expect(named({ durable_name: 'C' }, { isDurable: true })).toEqual(['C', 'C']);
    expect(named({ durable_name: 'C', name: 'D' }, {})).toEqual(['C', 'C']);
    expect(named({ name: 'D' }, {})).toEqual(['C', undefined]);
    expect(named({ durable_name: 'D' }, {})).toBe(10017);
  });

  test('ordered consumers of both client generations', () => {
    const ordered = {
      deliver_policy: 'all',
      ack_policy: 'none',
      inactive_threshold: 300e9,
      num_replicas: 1,
      max_deliver: 1,
      mem_storage: true,
      filter_subjects: ['s.a', 's.b'],
    };
    expect(complete(ordered)).toMatchObject({ mem_storage: true, max_deliver: 1, num_replicas: 1, max_waiting: 512 });
    const push = {
      ...ordered,
      filter_subjects: undefined,
      deliver_subject: 'd',
      flow_control: true,
      idle_heartbeat: 5e9,
    };
    expect(complete(push)).toMatchObject({ flow_control: true, idle_heartbeat: 5e9 });
  });

  test('empty values of newer options', () => {
    const empty = {
      priority_groups: null,
      priority_policy: 'none',
      pause_until: '0001-01-01T00:00:00Z',
      sourcing: false,
    };
    expect(isApiError(complete(empty))).toBe(false);
  });

  test('the stream’s limits', () => {
    const limited = stream({ consumer_limits: { max_ack_pending: 10, inactive_threshold: 60e9 } });
    expect(complete({ ack_policy: 'explicit', durable_name: 'C' }, limited)).toMatchObject({
      max_ack_pending: 10,
      inactive_threshold: 60e9,
    });
    expect(complete({ inactive_threshold: 61e9 }, limited)).toMatchObject({
      err_code: 10153,
      description: 'consumer inactive threshold exceeds system limit of 1m0s',
    });
  });
});

describe('refused', () => {
  test.each<[object, number]>([
    [{ ack_policy: 'flow_control' }, 10052],
    [{ priority_policy: 'overflow', priority_groups: ['a'] }, 10052],
    [{ pause_until: '2099-01-01T00:00:00Z' }, 10052],
    [{ rate_limit_bps: 100, deliver_subject: 'd' }, 10052],
    [{ num_replicas: -1 }, 10133],
    [{ num_replicas: 5 }, 10126],
    [{ deliver_subject: 'd..e' }, 10112],
    [{ deliver_subject: 's.x' }, 10081],
    [{ filter_subject: 'a..b' }, 10052],
    [{ metadata: { k: 'x'.repeat(131072) } }, 10135],
    [{ bogus: 1 }, 10025],
    [{ deliver_policy: 'by_start_time', opt_start_seq: 1, opt_start_time: '2024-01-01T00:00:00Z' }, 10094],
  ])('%j', (config, code) => {
    expect(complete(config)).toMatchObject({ err_code: code });
  });

  test('replicas of interest streams', () => {
    expect(complete({ num_replicas: 1, ack_policy: 'explicit' }, stream({ retention: 'interest' }))).toMatchObject({
      err_code: 10134,
    });
  });

  test('an unknown action', () => {
    expect(decodeConsumerRequest(bytes({ stream_name: 'S', action: 'bad' }))).toMatchObject({
      description: 'invalid JSON: unknown consumer action: "bad"',
    });
  });
});
