// Micro bench of a partition without network and disk: publishes through batch builder and apply, and through the leader's whole
// path (checks, tentative state, PubAck queue, apply). One thread. `node bench/stream-machine.ts [messages] [subjects] [--kv]`

import type { Group } from '../cluster/host/types.ts';
import type { Env } from '../src/kit/env.ts';
import { BatchBuilder, CommandType, ENTRY_WORK, encodeConfig } from '../src/stream/batch-codec.ts';
import { BATCHES, BatchWindow } from '../src/stream/batch-window.ts';
import { ColdBodies } from '../src/stream/body-cache.ts';
import { compileFilter } from '../src/stream/consumer-filter.ts';
import { createConsumerTable } from '../src/stream/consumers.ts';
import { StreamMachine } from '../src/stream/machine.ts';
import { Partition } from '../src/stream/partition.ts';
import { plainStream } from '../test/unit/plain-stream.ts';

const numbers = process.argv
  .slice(2)
  .filter((arg) => /^\d+$/.test(arg))
  .map(Number);
const MESSAGES = numbers[0] ?? 2_000_000;
const SUBJECTS = numbers[1] ?? 1000;
const KV = process.argv.includes('--kv');
const BATCH = 500;
const PAYLOAD = new Uint8Array(128).fill(120);
const NONE = new Uint8Array(0);

const CONFIG = plainStream('BENCH', {
  subjects: ['bench.>'],
  max_msgs: KV ? -1 : 1_000_000,
  max_msgs_per_subject: KV ? 1 : -1,
  num_replicas: 3,
  duplicate_window: 120_000_000_000,
  allow_rollup_hdrs: true,
});

const subjects = Array.from({ length: SUBJECTS }, (_, i) => `bench.orders.${i}`);
let cpuStart = process.cpuUsage();
let state = 1;
function pick(): string {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return subjects[state % SUBJECTS];
}

function report(what: string, startMs: number): void {
  const ms = performance.now() - startMs;
  const rate = Math.round(MESSAGES / ms) * 1000;
  const cpu = process.cpuUsage(cpuStart);
  cpuStart = process.cpuUsage();
  console.log(
    `${what}: ${rate.toLocaleString('en')} msgs/s (${((ms * 1e6) / MESSAGES).toFixed(0)} ns each, ${(((cpu.user + cpu.system) * 1000) / MESSAGES).toFixed(0)} ns of CPU)`,
  );
}

function buildAndApply(): void {
  const machine = new StreamMachine({ consumers: createConsumerTable, seed: 42, toLocalFirst: (first) => first });
  const builder = new BatchBuilder();
  let buildMs = 0;
  const start = performance.now();
  for (let seq = 1, index = 1; seq <= MESSAGES; index++) {
    const buildStart = performance.now();
    builder.begin(seq, index * 1000, ENTRY_WORK);
    if (index === 1) builder.command(CommandType.config, encodeConfig(1, CONFIG));
    for (let i = 0; i < BATCH && seq <= MESSAGES; i++, seq++) builder.publish(pick(), NONE, PAYLOAD, 0, 0, 0, 0);
    const body = builder.finish();
    buildMs += performance.now() - buildStart;
    machine.apply(index, body);
  }
  report('builder + apply', start);
  console.log(
    `  of it builder ${Math.round((buildMs * 1e6) / MESSAGES)} ns; ${machine.index.messages} messages, ` +
      `${machine.index.subjects} subjects, tables ${(machine.index.tableBytes / 1e6).toFixed(1)} MB`,
  );
  const snapshotStart = performance.now();
  const parts = machine.snapshot();
  const frozenMs = performance.now() - snapshotStart;
  const state = [...parts];
  const takenMs = performance.now() - snapshotStart;
  const restored = new StreamMachine({ consumers: createConsumerTable, seed: 7, toLocalFirst: (first) => first });
  const restoreStart = performance.now();
  const sink = restored.restore();
  for (const part of state) sink.push(part);
  sink.end();
  console.log(
    `  snapshot: frozen in ${frozenMs.toFixed(1)} ms, taken in ${takenMs.toFixed(0)} ms, ` +
      `${(state.reduce((sum, part) => sum + part.length, 0) / 1e6).toFixed(1)} MB; restored in ${(performance.now() - restoreStart).toFixed(0)} ms`,
  );
}

/** `hdr` has eight zeros: the place of a number that counts up. Without `expect`, of a message id. */
function leaderPath(hdr: Uint8Array | undefined, what: string, expect = false): void {
  const turn: (() => void)[] = [];
  const unused = (): never => {
    throw new Error('not part of the bench');
  };
  const env: Env = {
    clock: {
      nowMs: () => performance.now(),
      wallUs: () => 1_700_000_000_000_000,
      after: (delayMs) => ({ dueMs: delayMs }),
      cancel() {},
      endOfTurn: (fn) => void turn.push(fn),
    },
    random: { float: Math.random, uint32: () => 42, bytes: unused },
    disk: {} as Env['disk'],
    log: { debug() {}, info() {}, warn() {}, error() {} },
    openKv: unused,
    fatal: (reason) => {
      throw new Error(reason);
    },
    crashPoint() {},
  };
  let stamp = 1_700_000_000_000_000;
  const partition = new Partition({
    coldBodies: new ColdBodies(4 << 20),
    env,
    account: '$G',
    streamName: 'BENCH',
    streamId: 1,
    partition: 0,
    stride: 1,
    config: CONFIG,
    clusterTimeUs: () => stamp++,
    entryWork: ENTRY_WORK,
    window: new BatchWindow(env.clock, BATCHES),
    outlet: { deliverTo: () => false, hasInterest: () => false, publish() {} },
  });
  let log: Uint8Array[] = [];
  let proposed = 0;
  let applied = 0;
  const group: Group = {
    id: 64,
    leading: true,
    leader: 1,
    term: 1,
    applied: 0,
    inFlightBytes: 0,
    provenUntilMs: Number.POSITIVE_INFINITY,
    propose: (body) => {
      log.push(body);
      return ++proposed;
    },
    readBarrier: (done) => done(true),
    readBody: (_, done) => done(undefined),
    readBodies: (_first, _bytesMax, done) => done(undefined),
    bodyFromMemory: () => undefined,
    transferLeadership() {},
    proposeMembership: () => undefined,
    status: unused,
  };
  partition.attach(group);
  partition.onLeading(1, false);
  let stored = 0;
  const sink = {
    stored: () => {
      stored++;
    },
    refused: (_: number, error: { description: string }) => {
      throw new Error(error.description);
    },
    returned: () => {
      throw new Error('it leads no longer');
    },
  };
  let id = 0;
  const digits = hdr === undefined ? 0 : hdr.indexOf(48);
  const start = performance.now();
  for (let i = 0; i < MESSAGES; ) {
    for (let k = 0; k < BATCH && i < MESSAGES; k++, i++) {
      if (hdr !== undefined) {
        const number = expect ? i : ++id;
        for (let d = 7, rest = number; d >= 0; d--, rest = (rest / 10) | 0) hdr[digits + d] = 48 + (rest % 10);
      }
      partition.publish(expect ? subjects[0] : pick(), hdr ?? NONE, PAYLOAD, sink, i, 1);
    }
    while (turn.length > 0) turn.shift()?.();
    const bodies = log;
    log = [];
    for (const body of bodies) partition.apply(++applied, 1, body);
  }
  report(what, start);
  if (stored !== MESSAGES) throw new Error(`${stored} acks`);
}

buildAndApply();
leaderPath(undefined, 'leader path, no headers');
leaderPath(new TextEncoder().encode('NATS/1.0\r\nNats-Msg-Id: 00000000\r\n\r\n'), 'leader path, message ids');
leaderPath(
  new TextEncoder().encode('NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 00000000\r\n\r\n'),
  'leader path, compare-and-set on one key',
  true,
);

function watchStart(): void {
  const machine = new StreamMachine({ consumers: createConsumerTable, seed: 42, toLocalFirst: (first) => first });
  const builder = new BatchBuilder();
  const count = 1_000_000;
  for (let seq = 1, index = 1; seq <= count; index++) {
    builder.begin(seq, index, ENTRY_WORK);
    if (index === 1) builder.command(CommandType.config, encodeConfig(1, { ...CONFIG, max_msgs: -1 }));
    for (let i = 0; i < BATCH; i++, seq++) builder.publish(`$KV.bucket.key.${seq}`, NONE, NONE, 0, 0, 0, 0);
    machine.apply(index, builder.finish());
  }
  const { index } = machine;
  console.log(
    `${count.toLocaleString('en')} distinct subjects: tables ${Math.round(index.tableBytes / count)} bytes each`,
  );
  for (const pattern of ['$KV.bucket.>', '$KV.*.key.77*', '$KV.bucket.key.77']) {
    const filter = compileFilter([pattern]);
    const start = performance.now();
    const last = index.firstLast(filter);
    const countMs = performance.now();
    index.count(0, filter);
    console.log(
      `  ${pattern}: first of the last per subject (${last}) ${(countMs - start).toFixed(1)} ms, count ${(performance.now() - countMs).toFixed(1)} ms`,
    );
  }
}

watchStart();
