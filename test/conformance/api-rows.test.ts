// JetStream row by row (nats-surface §2 and §3): every request with what was tried in it, one after the other against one node of a
// cluster, and the answer. What is expected stands in api-rows.txt, as nats-server answers; `UPDATE=1 npm run conformance -- --against
// nats-server api-rows` writes it anew. Where Flotilla answers otherwise on purpose is the table OTHERWISE.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, headers as makeHeaders, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { USUAL_STREAM } from '../unit/plain-stream.ts';
import { against } from './harness.ts';
import { Target, targetKind } from './target.ts';

const GOLDEN = join(import.meta.dirname, 'api-rows.txt');
const UPDATE = process.env['UPDATE'] === '1' && against === 'nats-server';
/** Nobody answers after so long: a row like any other. */
const SILENT_MS = 1_500;

const target = new Target(targetKind());
let nc: NatsConnection;

beforeAll(async () => {
  await target.start(3);
  nc = await connect({ servers: target.urls[0] });
});

afterAll(async () => {
  await nc.close();
  await target.stop();
});

/** What differs between runs, or says where the server is. */
const VOLATILE = new Set(['ts', 'created', 'cluster', 'first_ts', 'last_ts', 'metadata', 'time', 'last_active', 'api']);
/** Of configurations only what is not usual is shown. */
const USUAL: Record<string, unknown> = {
  ...USUAL_STREAM,
  duplicate_window: 120_000_000_000,
  allow_msg_ttl: false,
  deliver_policy: 'all',
  ack_wait: 30_000_000_000,
  max_deliver: -1,
  replay_policy: 'instant',
  max_waiting: 512,
  max_ack_pending: 1000,
};

function normal(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((each) => normal(each));
  if (typeof value === 'string') return value.replace(/x{100,}/g, (run) => `x*${run.length}`);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value)
    .filter(([name]) => !VOLATILE.has(name))
    .filter(([name, each]) => key !== 'config' || USUAL[name] !== each)
    .map(([name, each]) => [name, normal(each, name)]);
  return Object.fromEntries(key === 'consumer_limits' ? kept.sort() : kept);
}

const rows: string[] = [];

async function publish(subject: string, text: string): Promise<void> {
  await nc.request(subject, text, { timeout: 20_000 });
}

async function q(subject: string, body: unknown = '', hdr?: Record<string, string>): Promise<void> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const headers = makeHeaders();
  for (const [key, value] of Object.entries(hdr ?? {})) headers.set(key, value);
  const asked = `${subject} ${normal(text)}${hdr ? ` ${JSON.stringify(hdr)}` : ''}`.replace(
    /x{100,}/g,
    (run) => `x*${run.length}`,
  );
  rows.push(`${rows.length + 1} ${asked} => ${await answer(subject, text, hdr ? headers : undefined)}`);
}

async function answer(
  subject: string,
  text: string,
  headers: ReturnType<typeof makeHeaders> | undefined,
): Promise<string> {
  let message: Awaited<ReturnType<NatsConnection['request']>>;
  try {
    message = await nc.request(subject, text, { timeout: SILENT_MS, headers });
  } catch (error) {
    if (error instanceof Error) return `(${error.message})`;
    throw error;
  }
  const status = message.headers ? `${message.headers.code || ''} ${message.headers.description} `.trimStart() : '';
  const content = message.string();
  return `${status}${content.startsWith('{') ? JSON.stringify(normal(JSON.parse(content))) : content}`.trim();
}

async function run(): Promise<void> {
  const J = '$JS.API.';
  const S = (name: string, more: object = {}) =>
    q(`${J}STREAM.CREATE.${name}`, { name, subjects: [`${name}.>`], ...more });
  const U = (name: string, more: object = {}) =>
    q(`${J}STREAM.UPDATE.${name}`, { name, subjects: [`${name}.>`], ...more });
  const CC = (s: string, c: string, config: object, more: object = {}) =>
    q(`${J}CONSUMER.CREATE.${s}.${c}`, { stream_name: s, config: { name: c, ...config }, ...more });
  // streams
  await S('A');
  await S('A');
  await S('A', { description: 'x' });
  await S('A', { max_msgs: 0 });
  await S('A', { metadata: { '_nats.ver': 'zz' } });
  await q(`${J}STREAM.CREATE.A`, '');
  await q(`${J}STREAM.CREATE.A`, '{');
  await q(`${J}STREAM.CREATE.A`, '[]');
  await q(`${J}STREAM.CREATE.A`, 'null');
  await q(`${J}STREAM.CREATE.A`, '{"name":1}');
  await q(`${J}STREAM.CREATE.A`, '{"name":"A","max_age":"1s"}');
  await q(`${J}STREAM.CREATE.A`, '{"name":"A","max_msgs":1.5}');
  await q(`${J}STREAM.CREATE.A`, '{"name":"A","max_msgs":99999999999999999999}');
  await q(`${J}STREAM.CREATE.A`, '{"NAME":"A","Subjects":["A.>"]}');
  await q(`${J}STREAM.CREATE.A`, '{"name":"B"}');
  await q(`${J}STREAM.CREATE.A`, '{"name":"A","subjects":"A.>"}');
  await q(`${J}STREAM.CREATE.A`, '{"name":"A"} trailing');
  await q(`${J}STREAM.CREATE.A`, '{"name":"A","name":"A","subjects":["A.>"]}');
  for (const name of ['a b', 'a*b', 'a>b', 'a/b', 'a\\\\b', 'x'.repeat(256), 'x'.repeat(255)])
    await q(`${J}STREAM.CREATE.${name.replace(' ', '')}`, { name });
  await q(`${J}STREAM.CREATE.`, { name: '' });
  await q(`${J}STREAM.CREATE.A.B`, { name: 'A.B' });
  await q(`${J}STREAM.CREATE`, {});
  const bad: object[] = [
    { subjects: ['a b'] },
    { subjects: ['a..b'] },
    { subjects: ['.a'] },
    { subjects: [''] },
    { subjects: ['a', 'a'] },
    { subjects: ['b.*', 'b.c'] },
    { subjects: ['>'] },
    { subjects: ['>'], no_ack: true },
    { subjects: ['$JS.>'] },
    { subjects: ['$JS.API.x'] },
    { subjects: ['$JS.EVENT.>'] },
    { subjects: ['$SYS.>'] },
    { subjects: ['$SYS.ACCOUNT.>'] },
    { subjects: ['$KV.>'] },
    { retention: 'foo' },
    { discard: 'foo' },
    { storage: 'foo' },
    { compression: 'gz' },
    { num_replicas: -1 },
    { num_replicas: 6 },
    { num_replicas: 0 },
    { max_age: -1 },
    { max_age: 1 },
    { max_age: 99999999 },
    { max_age: 100000000 },
    { duplicate_window: -1 },
    { duplicate_window: 1 },
    { duplicate_window: 1000000000, max_age: 500000000 },
    { max_msgs: -5 },
    { max_bytes: -5 },
    { max_msg_size: -5 },
    { max_consumers: -5 },
    { max_msgs_per_subject: -5 },
    { max_msgs: -5, pedantic: true },
    { discard_new_per_subject: true },
    { discard_new_per_subject: true, discard: 'new' },
    { discard_new_per_subject: true, discard: 'new', max_msgs_per_subject: 1 },
    { deny_purge: true, allow_rollup_hdrs: true },
    { sealed: true },
    { mirror_direct: true },
    { description: 'x'.repeat(4097) },
    { description: 'x'.repeat(4096) },
    { metadata: { k: 'x'.repeat(131072) } },
    { metadata: { k: 'x'.repeat(131071) } },
    { metadata: { k: 5 } },
    { first_seq: -1 },
    { first_seq: 18446744073709551615n.toString() },
    { subject_delete_marker_ttl: 1 },
    { subject_delete_marker_ttl: -1 },
    { subject_delete_marker_ttl: 1000000000 },
    { allow_msg_ttl: true },
    { placement: {} },
    { placement: { preferred: 'x' } },
    { consumer_limits: { max_ack_pending: -5 } },
    { consumer_limits: { inactive_threshold: -5 } },
    { consumer_limits: { foo: 1 } },
    { template_owner: 'x' },
    { storage: 'memory' },
    { retention: 'interest' },
    { retention: 'workqueue' },
    { no_ack: true },
    { allow_direct: true },
    { compression: 's2' },
    { max_msgs_per_subject: 5, max_msgs: 3 },
    { max_msg_size: 10, max_bytes: 5 },
    { persist_mode: 'default' },
    { persist_mode: 'foo' },
    { retention: 'limits', discard: 'new', max_bytes: 10 },
    { subjects: ['q.*.>', 'q.a'] },
    { max_age: 3600000000000 },
    { max_age: 60000000000 },
  ];
  for (const more of bad) {
    await S('T', more);
    await q(`${J}STREAM.DELETE.T`);
  }
  // update rules
  await S('U', { max_msgs: 10 });
  for (const more of [
    { storage: 'memory' },
    { retention: 'interest' },
    { retention: 'workqueue' },
    { retention: 'limits' },
    { num_replicas: 3 },
    { num_replicas: 1 },
    { deny_delete: true },
    { deny_delete: false },
    { deny_delete: true, deny_purge: true },
    { deny_delete: true, deny_purge: true, first_seq: 100 },
    { deny_delete: true, deny_purge: true, allow_rollup_hdrs: true },
    { deny_delete: true, deny_purge: true, mirror_direct: true },
    { deny_delete: true, deny_purge: true, subjects: ['A.x'] },
    { deny_delete: true, deny_purge: true, subjects: [] },
    { deny_delete: true, deny_purge: true, max_msgs: -2 },
    { deny_delete: true, deny_purge: true, allow_msg_ttl: true },
    { deny_delete: true, deny_purge: true },
    { deny_delete: true, deny_purge: true, allow_msg_ttl: true, duplicate_window: 1000000000 },
    { name: 'OTHER' },
    { deny_delete: true, deny_purge: true, allow_msg_ttl: true, sealed: true },
    { deny_delete: true, deny_purge: true, allow_msg_ttl: true },
  ])
    await U('U', more);
  await U('NOPE');
  await q(`${J}STREAM.UPDATE.U`, '');
  await q(`${J}STREAM.UPDATE.U`, { foo: 1 });
  // info / names / list
  for (const b of [
    '',
    '{}',
    'x',
    '[]',
    '{"foo":1}',
    '{"subjects_filter":">"}',
    '{"deleted_details":true}',
    '{"subjects_filter":"a b"}',
    '{"subjects_filter":5}',
    '{"offset":5}',
    '{"offset":-1}',
  ])
    await q(`${J}STREAM.INFO.A`, b);
  await q(`${J}STREAM.INFO.NOPE`);
  await q(`${J}STREAM.INFO.A.B`);
  await q(`${J}STREAM.INFO.a b`.replace(' ', '%20'));
  for (const b of [
    '',
    '{}',
    'x',
    '{"offset":1}',
    '{"offset":-1}',
    '{"offset":100}',
    '{"subject":"A.x"}',
    '{"subject":"A.*"}',
    '{"subject":">"}',
    '{"subject":"zzz"}',
    '{"subject":"a b"}',
    '{"foo":1}',
  ]) {
    await q(`${J}STREAM.NAMES`, b);
    await q(`${J}STREAM.LIST`, b.replace('>', 'zz'));
  }
  await q(`${J}STREAM.NAMES.x`);
  // publish
  await S('P', { allow_direct: true, allow_rollup_hdrs: true, max_msg_size: 100 });
  const pub = (subj: string, text = 'x', h?: Record<string, string>): Promise<void> => q(subj, text, h);
  await pub('P.a');
  await pub('P.a', '', {});
  await pub('P.a', 'y'.repeat(101));
  await pub('P.a', 'y'.repeat(90), { Long: 'zzzzzzzzzzzz' });
  await pub('P.b', 'm', { 'Nats-Msg-Id': '1' });
  await pub('P.b', 'm', { 'Nats-Msg-Id': '1' });
  await pub('P.b', 'm', { 'Nats-Msg-Id': '' });
  for (const h of [
    { 'Nats-Expected-Stream': 'P' },
    { 'Nats-Expected-Stream': 'Q' },
    { 'Nats-Expected-Last-Sequence': '0' },
    { 'Nats-Expected-Last-Sequence': 'x' },
    { 'Nats-Expected-Last-Sequence': '-1' },
    { 'Nats-Expected-Last-Subject-Sequence': '0' },
    { 'Nats-Expected-Last-Subject-Sequence': 'x' },
    { 'Nats-Expected-Last-Subject-Sequence': '99' },
    { 'Nats-Expected-Last-Subject-Sequence-Subject': 'P.a' },
    { 'Nats-Expected-Last-Subject-Sequence': '99', 'Nats-Expected-Last-Subject-Sequence-Subject': 'P.b' },
    { 'Nats-Expected-Last-Subject-Sequence': '0', 'Nats-Expected-Last-Subject-Sequence-Subject': 'P.zzz' },
    { 'Nats-Expected-Last-Subject-Sequence': '0', 'Nats-Expected-Last-Subject-Sequence-Subject': 'other' },
    { 'Nats-Expected-Last-Subject-Sequence': '0', 'Nats-Expected-Last-Subject-Sequence-Subject': 'P.*' },
    { 'Nats-Expected-Last-Msg-Id': 'zz' },
    { 'Nats-Rollup': 'foo' },
    { 'Nats-Rollup': 'SUB' },
    { 'Nats-TTL': '1s' },
    { 'Nats-TTL': 'x' },
    { 'Nats-Incr': '1' },
    { 'Nats-Schedule': '@every 1s' },
    { 'Nats-Batch-Id': 'b', 'Nats-Batch-Sequence': '1' },
    { 'Nats-Stream-Source': 'x' },
    { 'nats-msg-id': '1' },
    { 'Nats-Rollup': 'all' },
    { 'Nats-Required-Api-Level': '99' },
  ] as Record<string, string>[])
    await pub('P.c', 'h', h);
  await S('PN', { discard: 'new', max_msgs: 1 });
  await pub('PN.a');
  await pub('PN.a');
  await S('PB', { discard: 'new', max_bytes: 60 });
  await pub('PB.a', '12345');
  await pub('PB.a', '12345');
  await S('PS', { discard: 'new', max_msgs_per_subject: 1, discard_new_per_subject: true });
  await pub('PS.a');
  await pub('PS.a');
  await pub('PS.b');
  await S('PD', { deny_delete: true, deny_purge: true });
  await pub('PD.a');
  await q(`${J}STREAM.PURGE.PD`);
  await q(`${J}STREAM.MSG.DELETE.PD`, { seq: 1 });
  await S('PI', { retention: 'interest' });
  await pub('PI.a');
  await q(`${J}STREAM.INFO.PI`);
  // purge / msg get / delete
  await S('G');
  for (let i = 0; i < 6; i++) await publish(`G.${i % 2}`, `${i}`);
  for (const b of [
    '',
    '{}',
    'x',
    '[]',
    '{"foo":1}',
    '{"seq":2,"keep":2}',
    '{"filter":"a b"}',
    '{"filter":"zz"}',
    '{"filter":"G.0","seq":3}',
    '{"keep":2}',
    '{"keep":-1}',
    '{"seq":-1}',
    '{"seq":0}',
  ])
    await q(`${J}STREAM.PURGE.G`, b);
  for (let i = 0; i < 6; i++) await publish(`G.${i % 2}`, `${i}`);
  for (const b of [
    '',
    '{}',
    'x',
    '{"seq":1}',
    '{"seq":7}',
    '{"seq":0}',
    '{"seq":-1}',
    '{"seq":99}',
    '{"last_by_subj":"G.0"}',
    '{"last_by_subj":"G.*"}',
    '{"last_by_subj":""}',
    '{"last_by_subj":"a b"}',
    '{"next_by_subj":"G.1"}',
    '{"next_by_subj":"G.1","seq":9}',
    '{"next_by_subj":"G.1","seq":99}',
    '{"seq":7,"last_by_subj":"x"}',
    '{"seq":7,"batch":2}',
    '{"multi_last":["G.>"]}',
    '{"foo":1}',
    '{"seq":7,"no_hdr":true}',
    '{"start_time":"2000-01-01T00:00:00Z"}',
    '{"start_time":"x"}',
    '{"start_time":"2999-01-01T00:00:00Z"}',
    '{"seq":1,"start_time":"2000-01-01T00:00:00Z"}',
  ])
    await q(`${J}STREAM.MSG.GET.G`, b);
  for (const b of [
    '',
    '{}',
    'x',
    '{"seq":8}',
    '{"seq":8}',
    '{"seq":0}',
    '{"seq":-1}',
    '{"seq":99}',
    '{"foo":1}',
    '{"seq":9,"no_erase":true}',
  ])
    await q(`${J}STREAM.MSG.DELETE.G`, b);
  await q(`${J}STREAM.MSG.GET.NOPE`, '{"seq":1}');
  await q(`${J}STREAM.PURGE.NOPE`);
  await q(`${J}STREAM.MSG.DELETE.NOPE`, '{"seq":1}');
  await q(`${J}STREAM.INFO.G`, '{"deleted_details":true}');
  // consumers
  await S('C');
  for (let i = 0; i < 6; i++) await publish(`C.${i % 2}`, `${i}`);
  const E = { ack_policy: 'explicit' };
  await CC('C', 'd', { durable_name: 'd', ...E });
  await CC('C', 'd', { durable_name: 'd', ...E });
  await CC('C', 'd', { durable_name: 'd', ...E, ack_wait: 1000000000 });
  await CC('C', 'd', { durable_name: 'd', ...E }, { action: 'create' });
  await CC('C', 'd', { durable_name: 'd', ...E, ack_wait: 5 }, { action: 'create' });
  await CC('C', 'nope', { durable_name: 'nope', ...E }, { action: 'update' });
  await CC('C', 'd', { ...E }, { action: 'foo' });
  const cb: object[] = [
    { ack_policy: 'foo' },
    { deliver_policy: 'foo' },
    { replay_policy: 'foo' },
    { ack_policy: 'none', max_ack_pending: 5 },
    { ...E, ack_wait: -1 },
    { ...E, max_deliver: 0 },
    { ...E, max_deliver: -5 },
    { ...E, max_deliver: 1, backoff: [1000000000, 2000000000] },
    { ...E, max_deliver: 2, backoff: [1000000000, 2000000000] },
    { ...E, backoff: [-1] },
    { ...E, filter_subject: 'a b' },
    { ...E, filter_subject: 'zz.>' },
    { ...E, filter_subject: 'C.0', filter_subjects: ['C.1'] },
    { ...E, filter_subjects: ['C.0', 'C.*'] },
    { ...E, filter_subjects: [''] },
    { ...E, filter_subjects: ['C.0'] },
    { ...E, filter_subjects: ['C.0', 'C.1'] },
    { ...E, deliver_policy: 'by_start_sequence' },
    { ...E, deliver_policy: 'by_start_time' },
    { ...E, deliver_policy: 'by_start_sequence', opt_start_seq: 99 },
    { ...E, deliver_policy: 'by_start_sequence', opt_start_seq: 3 },
    { ...E, deliver_policy: 'all', opt_start_seq: 3 },
    { ...E, deliver_policy: 'new', opt_start_seq: 3 },
    { ...E, deliver_policy: 'last', opt_start_time: '2020-01-01T00:00:00Z' },
    { ...E, deliver_policy: 'last_per_subject' },
    { ...E, deliver_policy: 'last_per_subject', filter_subject: 'C.0' },
    { ...E, deliver_policy: 'new' },
    { ...E, deliver_policy: 'last' },
    { ...E, rate_limit_bps: 5 },
    { ...E, sample_freq: '50%' },
    { ...E, sample_freq: 'x' },
    { ...E, sample_freq: '500' },
    { ...E, max_waiting: -1 },
    { ...E, max_waiting: 5 },
    { ...E, max_ack_pending: -1 },
    { ...E, max_ack_pending: -5 },
    { ...E, flow_control: true },
    { ...E, idle_heartbeat: 1000000000 },
    { ...E, headers_only: true },
    { ...E, max_batch: 5 },
    { ...E, max_batch: -1 },
    { ...E, max_expires: 1 },
    { ...E, max_expires: -1 },
    { ...E, max_bytes: -1 },
    { ...E, inactive_threshold: -1 },
    { ...E, inactive_threshold: 1000000000 },
    { ...E, num_replicas: -1 },
    { ...E, num_replicas: 3 },
    { ...E, mem_storage: true },
    { ...E, description: 'x'.repeat(4097) },
    { ...E, metadata: { k: 'x'.repeat(131073) } },
    { ...E, deliver_subject: 'x.*' },
    { ...E, deliver_subject: 'C.x' },
    { ...E, deliver_subject: 'a b' },
    { ...E, deliver_subject: 'inb', max_waiting: 5 },
    { ...E, deliver_subject: 'inb', flow_control: true },
    { ...E, deliver_subject: 'inb', idle_heartbeat: 5 },
    { ...E, deliver_subject: 'inb', flow_control: true, idle_heartbeat: 1000000000 },
    { ...E, deliver_subject: 'inb', deliver_group: 'g' },
    { ...E, deliver_subject: 'inb', max_batch: 5 },
    { ack_policy: 'none', deliver_subject: 'inb', max_ack_pending: 5 },
    { ...E, deliver_group: 'g' },
    { ...E, foo: 1 },
    { ...E, name: 'other' },
    { ...E, name: 'a b' },
    { ...E, durable_name: 'other' },
    { ...E, direct: true },
    { ...E, opt_start_time: 'x', deliver_policy: 'by_start_time' },
    { ...E, pause_until: '2020-01-01T00:00:00Z' },
    { ...E, priority_groups: ['g'] },
    { ...E, priority_policy: 'none' },
    { ...E, ack_wait: 0 },
    { ...E, replay_policy: 'original' },
    { ack_policy: 'all' },
    {},
  ];
  for (const c of cb) {
    await CC('C', 'x', c);
    await q(`${J}CONSUMER.DELETE.C.x`);
  }
  await q(`${J}CONSUMER.CREATE.C`, { stream_name: 'D', config: E });
  await q(`${J}CONSUMER.CREATE.C`, { stream_name: 'C', config: { ...E, durable_name: 'q' } });
  await q(`${J}CONSUMER.CREATE.C.x.C.0`, { stream_name: 'C', config: { ...E, name: 'x', filter_subject: 'C.1' } });
  await q(`${J}CONSUMER.CREATE.C.x.C.0`, {
    stream_name: 'C',
    config: { ...E, name: 'x', filter_subjects: ['C.1', 'C.0'] },
  });
  await q(`${J}CONSUMER.CREATE.C.x.C.0`, { stream_name: 'C', config: { ...E, name: 'x', filter_subject: 'C.0' } });
  await q(`${J}CONSUMER.DURABLE.CREATE.C.y`, { stream_name: 'C', config: E });
  await q(`${J}CONSUMER.DURABLE.CREATE.C.y`, { stream_name: 'C', config: { ...E, durable_name: 'z' } });
  await q(`${J}CONSUMER.DURABLE.CREATE.C.y`, { stream_name: 'C', config: { ...E, durable_name: 'y' } });
  await q(`${J}CONSUMER.CREATE.NOPE.x`, { stream_name: 'NOPE', config: { ...E, name: 'x' } });
  await q(`${J}CONSUMER.CREATE.C.x`, '');
  await q(`${J}CONSUMER.CREATE.C.x`, '{');
  await q(`${J}CONSUMER.CREATE.C.x`, {});
  await q(`${J}CONSUMER.CREATE.C.x`, { stream_name: 'C' });
  for (const b of ['', '{}', 'x', '{"offset":1}', '{"offset":-1}', '{"foo":1}']) {
    await q(`${J}CONSUMER.NAMES.C`, b);
    await q(`${J}CONSUMER.INFO.C.d`, b);
  }
  await q(`${J}CONSUMER.LIST.C`);
  await q(`${J}CONSUMER.INFO.C.nope`);
  await q(`${J}CONSUMER.INFO.NOPE.d`);
  await q(`${J}CONSUMER.NAMES.NOPE`);
  await q(`${J}CONSUMER.LIST.NOPE`);
  await q(`${J}CONSUMER.DELETE.C.nope`);
  await q(`${J}CONSUMER.DELETE.NOPE.d`);
  await q(`${J}CONSUMER.DELETE.C.d`, 'x');
  await q(`${J}CONSUMER.INFO.C`);
  for (const f of [
    { deliver_policy: 'new' },
    { ack_policy: 'none' },
    { replay_policy: 'original' },
    { max_waiting: 5 },
    { deliver_subject: 'q' },
    { filter_subject: 'C.0' },
    { max_deliver: 7 },
    { idle_heartbeat: 1000000000 },
    { flow_control: true },
    { opt_start_seq: 5, deliver_policy: 'by_start_sequence' },
    { mem_storage: true },
    { inactive_threshold: 99000000000 },
    { description: 'd' },
    { backoff: [1000000000] },
    { num_replicas: 1 },
    { headers_only: true },
    { max_ack_pending: 3 },
  ])
    await CC('C', 'd', { durable_name: 'd', ...E, ...f });
  await S('W', { retention: 'workqueue' });
  for (const [c, f] of [
    ['a', { ack_policy: 'none' }],
    ['a', { ack_policy: 'all' }],
    ['a', { ...E, deliver_policy: 'new' }],
    ['a', { ...E, filter_subject: 'W.a' }],
    ['b', { ...E }],
    ['b', { ...E, filter_subject: 'W.*' }],
    ['b', { ...E, filter_subject: 'W.b' }],
    ['b', { ...E, filter_subject: 'W.a' }],
    ['c', { ...E, filter_subjects: ['W.c', 'W.a'] }],
    ['c', { ...E, filter_subjects: ['W.c', 'W.d'] }],
  ] as [string, object][])
    await CC('W', c, { durable_name: c, ...f });
  await S('L', { consumer_limits: { max_ack_pending: 10, inactive_threshold: 5000000000 } });
  for (const f of [
    { ...E },
    { ...E, max_ack_pending: 11 },
    { ...E, inactive_threshold: 6000000000 },
    { ...E, max_ack_pending: -1 },
  ]) {
    await CC('L', 'x', f);
    await q(`${J}CONSUMER.DELETE.L.x`);
  }
  await S('M', { max_consumers: 1 });
  await CC('M', 'a', { ...E, durable_name: 'a' });
  await CC('M', 'b', { ...E, durable_name: 'b' });
  await q(`${J}INFO`, 'x');
  await q(`${J}INFO.x`);
  await q(`${J}STREAM.DELETE.A`, 'x');
  await q(`${J}STREAM.DELETE.A`, '{}');
  await q(`${J}STREAM.DELETE.A`);
  for (const [op, b] of [
    ['STREAM.INFO.P', ''],
    ['DIRECT.GET.P', '{"seq":1}'],
    ['STREAM.MSG.GET.P', '{"seq":1}'],
    ['CONSUMER.MSG.NEXT.C.d', ''],
  ])
    await q(`${J}${op}`, b, { 'Nats-Required-Api-Level': '99' });
  for (const b of [
    '',
    '1',
    '{"batch":1,"no_wait":true}',
    '{"batch":0,"no_wait":true}',
    '{"batch":-1,"no_wait":true}',
    'x',
    '{"batch":1,"expires":1,"idle_heartbeat":5}',
    '{"foo":1,"no_wait":true}',
    '{"max_bytes":1,"no_wait":true,"batch":1}',
    '{"batch":"x"}',
  ])
    await q(`${J}CONSUMER.MSG.NEXT.C.d`, b);
}

/** Rows on which Flotilla answers otherwise, with what stands in its answer. */
const OTHERWISE: [rows: number[], says: string, why: string][] = [
  [[17], 'invalid JSON', 'what follows a value is bad at its first letter, whatever it would become'],
  [[27, 28, 208, 234, 528, 570], '"err_code":10003', 'an unknown operation is answered, not left to time out'],
  [[181], '"deny_delete":true', 'a first sequence does not appear by an update: the stream does not begin there'],
  [[202], '"messages":0', 'an empty stream has no list of deleted messages'],
  [[221], '"total":3', 'the total is that of the list also beyond its end'],
  [[321], '"err_code":10037', 'nothing was stored after a time that is still to come'],
  [[328, 330], '"err_code":10043', 'a sequence that is not there is not found, whichever it is'],
  [
    [403, 404, 407, 408, 481, 482, 483],
    '"err_code":100',
    'ack sampling, pausing and priority groups are not served yet, and say so',
  ],
  [[524], '"err_code":10059', 'a stream that is not there has no list of consumers'],
  [[554], '"err_code":10100', 'filters of a work queue must not overlap after an update either'],
  [
    [586, 587],
    '40',
    'an unserved pull before it does not silence a request; a batch that is no number is named as such',
  ],
];

test('every row', async () => {
  await run();
  if (UPDATE) {
    writeFileSync(GOLDEN, `${rows.join('\n')}\n`);
    return;
  }
  const expected = readFileSync(GOLDEN, 'utf8').trimEnd().split('\n');
  const otherwise = new Map(OTHERWISE.flatMap(([numbers, says]) => numbers.map((number) => [number, says])));
  const differing = rows.flatMap((row, i) => {
    const says = against === 'flotilla' ? otherwise.get(i + 1) : undefined;
    const isRight = says === undefined ? row === expected[i] : row.split(' => ')[1].includes(says);
    return isRight ? [] : [{ row, expected: says ?? expected[i] }];
  });
  expect(differing).toEqual([]);
  expect(rows.length).toBe(expected.length);
}, 300_000);
