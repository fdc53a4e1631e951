// Defaults, rules and updates of stream configurations, as a table of requests and what they come to.
import { describe, expect, test } from 'vitest';
import {
  completeStreamConfig,
  completeStreamUpdate,
  decodeStreamRequest,
  type StreamRequest,
} from '../../../src/jetstream/stream-config.ts';
import type { StreamConfig } from '../../../src/stream/config.ts';
import { isApiError } from '../../../src/stream/errors.ts';

const RULES = { clustered: true, defaultReplicas: 1 };

function request(fields: object): StreamRequest {
  const decoded = decodeStreamRequest(new TextEncoder().encode(JSON.stringify({ name: 'S', ...fields })));
  if (isApiError(decoded)) throw new Error(decoded.description);
  return decoded;
}

const complete = (fields: object, rules = RULES) => completeStreamConfig(request(fields), rules);
const refusal = (fields: object, rules = RULES) => {
  const result = complete(fields, rules);
  return isApiError(result) ? [result.err_code, result.description] : result;
};

function valid(fields: object): StreamConfig {
  const result = complete(fields);
  if (isApiError(result)) throw new Error(result.description);
  return result;
}

describe('many subjects', () => {
  const many = (count: number, of: (i: number) => string) => Array.from({ length: count }, (_, i) => of(i));

  test('are compared in time that grows with their number', () => {
    const subjects = many(20_000, (i) => `a.${i}.*.>`);
    expect(valid({ subjects }).subjects).toHaveLength(20_000);
    expect(refusal({ subjects: [...subjects, 'b', 'a.77.x.y', 'c'] })).toEqual([
      10052,
      'subject "a.77.*.>" overlaps with "a.77.x.y"',
    ]);
  });

  test('deeper than any client can publish are refused: two of them, compared token by token, ended every node for good', () => {
    const deep = many(20_000, () => 'a').join('.');
    expect(refusal({ subjects: [deep] })).toEqual([10052, 'invalid subject']);
  });

  test('with wildcards that meet all others are refused before they cost seconds', () => {
    const subjects = [...many(5_000, (i) => `a.${i}.k`), ...many(5_000, (i) => `a.*.m${i}`)];
    expect(refusal({ subjects })).toEqual([10052, 'too many subjects with wildcards']);
  });
});

describe('create', () => {
  test('what clients of key-value buckets send is complete', () => {
    const bucket = {
      name: 'KV_b',
      subjects: ['$KV.b.>'],
      retention: 'limits',
      max_msgs_per_subject: 5,
      max_bytes: -1,
      max_msg_size: -1,
      storage: 'file',
      discard: 'new',
      allow_direct: true,
      num_replicas: 3,
      max_age: 0,
      allow_rollup_hdrs: true,
      sources: [],
      compression: 'none',
      mirror_direct: false,
      allow_msg_ttl: false,
      subject_delete_marker_ttl: 0,
    };
    expect(complete(bucket)).toMatchObject({ max_msgs_per_subject: 5, discard: 'new', duplicate_window: 120e9 });
  });

  test('the number of replicas is the server’s when the request has none', () => {
    expect(complete({}, { ...RULES, defaultReplicas: 3 })).toMatchObject({ num_replicas: 3 });
    expect(complete({ num_replicas: 1 }, { ...RULES, defaultReplicas: 3 })).toMatchObject({ num_replicas: 1 });
  });

  test('keys that servers add are not kept', () => {
    expect(valid({ metadata: { '_nats.ver': '1', own: 'x' } }).metadata).toEqual({ own: 'x' });
    expect(valid({ metadata: { '_nats.ver': '1' } }).metadata).toBeUndefined();
  });

  test.each<[object, number, string]>([
    [{ name: 'a b' }, 10052, "stream name is required and can not contain '.', '*', '>', '\\', '/'"],
    [{ description: 'x'.repeat(4097) }, 10052, 'stream description is too long, maximum allowed is 4096'],
    [{ metadata: { k: 'x'.repeat(131072) } }, 10052, 'stream metadata exceeds maximum size of 131072 bytes'],
    [{ num_replicas: 6 }, 10052, 'maximum replicas is 5'],
    [{ num_replicas: -1 }, 10133, 'replicas count cannot be negative'],
    [{ subjects: ['>'] }, 10052, 'capturing all subjects requires no-ack to be true'],
    [{ subjects: ['>'], no_ack: true, num_replicas: 3 }, 10052, 'capturing all subjects requires replicas of 1'],
    [{ subjects: ['$SYS.x'] }, 10052, 'subjects that overlap with system api require no-ack to be true'],
    [{ subjects: ['*.API.>'] }, 10052, 'subjects that overlap with jetstream api require no-ack to be true'],
    [{ first_seq: 2 ** 53 }, 10052, `first sequence must not be above ${2 ** 52}`],
    [
      { metadata: { 'flotilla.partitions': '65' } },
      10052,
      'metadata "flotilla.partitions" must be a number from 1 to 64',
    ],
    [
      { metadata: { 'flotilla.partitions': 'x' } },
      10052,
      'metadata "flotilla.partitions" must be a number from 1 to 64',
    ],
    [{ placement: { preferred: 'n' } }, 10052, 'preferred server not permitted in placement'],
    [{ pedantic: true, max_msgs: -5 }, 10157, 'pedantic mode: max_msgs must be set to -1'],
    [{ name: '日'.repeat(86) }, 10052, 'stream name is too long, maximum allowed is 255'],
    [{ pedantic: true, max_age: 60e9 }, 10157, 'pedantic mode: duplicate window cannot be bigger than max age'],
    [
      { pedantic: true, subject_delete_marker_ttl: 5e9 },
      10052,
      'subject delete marker cannot be set if message TTLs are disabled',
    ],
    [
      { pedantic: true, subject_delete_marker_ttl: 5e9, allow_msg_ttl: true },
      10052,
      'subject delete marker cannot be set if roll-ups are disabled',
    ],
    [
      { deny_purge: true, allow_rollup_hdrs: true, subject_delete_marker_ttl: 5e9 },
      10052,
      'roll-ups require the purge permission',
    ],
    [{ mirror: { name: 'x' } }, 10052, 'stream mirrors are not supported by this server yet'],
    [{ sources: [{ name: 'x' }] }, 10052, 'stream sources are not supported by this server yet'],
    [{ republish: { src: 'a', dest: 'b' } }, 10052, 'republish is not supported by this server yet'],
    [{ subject_transform: { src: 'a', dest: 'b' } }, 10052, 'subject transforms are not supported by this server yet'],
    [{ subject_delete_marker_ttl: 5 }, 10052, 'subject delete marker TTL must be at least 1 second'],
    [{ allow_atomic: true }, 10052, 'atomic batch publishing is not supported by this server yet'],
    [{ persist_mode: 'async' }, 10052, 'async persist mode is not supported by this server yet'],
  ])('refuses %j', (fields, code, words) => {
    expect(refusal(fields)).toEqual([code, words]);
  });

  test('delete markers need the purge permission, and take it', () => {
    const marked = valid({ deny_purge: true, subject_delete_marker_ttl: 5e9 });
    expect(marked).toMatchObject({ deny_purge: false, allow_rollup_hdrs: true, allow_msg_ttl: true });
  });

  test('names may be of any letters, and the discard policy in capitals', () => {
    expect(valid({ name: 'a\u00a0ü', discard: 'NEW' })).toMatchObject({ name: 'a\u00a0ü', discard: 'new' });
  });

  test('subjects that only look reserved are fine', () => {
    expect(valid({ subjects: ['$JS.EVENT.ADVISORY.>', '$SYS.ACCOUNT.a.x', '$KV.b.>'] }).subjects).toHaveLength(3);
    expect(valid({ subjects: ['>'], no_ack: true }).no_ack).toBe(true);
  });

  test('replicas need a cluster, windows have a limit', () => {
    expect(refusal({ num_replicas: 3 }, { ...RULES, clustered: false })).toEqual([
      10074,
      'replicas > 1 not supported in non-clustered mode',
    ]);
    const rules = { ...RULES, duplicateWindowNsMax: 60e9 };
    expect(refusal({ duplicate_window: 61e9 }, rules)).toEqual([
      10052,
      'duplicates window can not be larger then server limit of 1m0s',
    ]);
    expect(complete({}, rules)).toMatchObject({ duplicate_window: 60e9 });
  });
});

describe('update', () => {
  const update = (current: object, next: object) => completeStreamUpdate(valid(current), request(next), RULES);

  test('replaces everything but what creation fixed', () => {
    const next = update({ first_seq: 5, description: 'x', metadata: { 'flotilla.partitions': '1' } }, { max_msgs: 7 });
    expect(next).toMatchObject({ first_seq: 5, max_msgs: 7, metadata: { 'flotilla.partitions': '1' } });
    expect(next).not.toHaveProperty('description');
  });

  test('sealing turns the other switches', () => {
    const sealed = update({ max_age: 1e9 }, { sealed: true, max_age: 1e9, allow_rollup_hdrs: true });
    expect(sealed).toMatchObject({
      sealed: true,
      max_age: 0,
      discard: 'new',
      deny_delete: true,
      deny_purge: true,
      allow_rollup_hdrs: false,
    });
    const opened = completeStreamUpdate(sealed as StreamConfig, request({}), RULES);
    expect(opened).toMatchObject({ description: 'stream configuration update can not unseal a sealed stream' });
  });

  test.each<[object, object, string]>([
    [{ storage: 'file' }, { storage: 'memory' }, 'can not change storage type'],
    [{ retention: 'workqueue' }, {}, 'can not change retention policy to/from workqueue'],
    [{ deny_delete: true }, {}, 'can not cancel deny message deletes'],
    [{ deny_purge: true }, {}, 'can not cancel deny purge'],
  ])('%j to %j', (current, next, words) => {
    expect(update(current, next)).toMatchObject({
      err_code: 10052,
      description: `stream configuration update ${words}`,
    });
  });

  test('limits to interest is allowed', () => {
    expect(update({}, { retention: 'interest' })).toMatchObject({ retention: 'interest' });
  });
});
