// Reads every replica of a stream: each node is made the leader of all its partitions in turn and is asked for everything. Called by
// round.ts after healing. Invariant: a reading counts only if the same node led before and after it.
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { DeliverPolicy, type JetStreamManager, type NatsConnection } from 'nats';
import type { ReplicaState, StoredMessage } from '../test/checkers/history.ts';
import { contentOf } from './attempts.ts';
import { type Cluster, seriesOfPartition } from './cluster.ts';

const REQUEST_MS = 10_000;
const LEAD_MS_MAX = 60_000;
const FETCH_MAX = 20_000;

export interface Replica {
  cluster: Cluster;
  stream: string;
  partitions: number;
  node: number;
}

/** Others say so of the first partition, itself of all. */
async function leads(jsm: JetStreamManager, { cluster, stream, partitions, node }: Replica): Promise<boolean> {
  if ((await jsm.streams.info(stream)).cluster?.leader !== cluster.names[node]) return false;
  const metrics = await cluster.metrics(node);
  const led = Array.from({ length: partitions }, (_, partition) =>
    metrics?.get(seriesOfPartition('flotilla_partition_leading', stream, partition)),
  );
  return led.every((value) => value === 1);
}

/** False: it did not come to lead. */
async function lead(connection: NatsConnection, jsm: JetStreamManager, replica: Replica): Promise<boolean> {
  const { cluster, stream, node } = replica;
  const deadline = performance.now() + LEAD_MS_MAX;
  while (performance.now() < deadline) {
    try {
      if (await leads(jsm, replica)) return true;
      const body = JSON.stringify({ placement: { preferred: cluster.names[node] } });
      await connection.request(`$JS.API.STREAM.LEADER.STEPDOWN.${stream}`, body, { timeout: REQUEST_MS });
    } catch (error) {
      if (!(error instanceof Error)) throw error;
    }
    await pause(300);
  }
  return false;
}

/** Everything in the stream, ascending. A work queue allows no second consumer: what is left there is read one by one. */
async function messagesOf(
  connection: NatsConnection,
  jsm: JetStreamManager,
  stream: string,
  byConsumer: boolean,
): Promise<{ lastSeq: number; messages: StoredMessage[] }> {
  const { state } = await jsm.streams.info(stream);
  const messages: StoredMessage[] = [];
  if (!byConsumer) {
    for (let seq = state.first_seq; messages.length < state.messages && seq <= state.last_seq; seq++) {
      try {
        const { subject, data } = await jsm.streams.getMessage(stream, { seq });
        messages.push({ seq, subject, content: contentOf(data) });
      } catch (error) {
        if (!(error instanceof Error) || !/no message found/i.test(error.message)) throw error;
      }
    }
    return { lastSeq: state.last_seq, messages };
  }
  let last = 0;
  while (last < state.last_seq) {
    const start = { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: last + 1 };
    const consumer = await connection.jetstream({ timeout: REQUEST_MS }).consumers.get(stream, start);
    const before = last;
    const batch = await consumer.fetch({ max_messages: FETCH_MAX, expires: REQUEST_MS });
    for await (const message of batch) {
      const { seq, subject, data } = message;
      messages.push({ seq, subject, content: contentOf(data) });
      last = seq;
      if (message.info.pending === 0) break;
    }
    if (last === before) break;
  }
  return { lastSeq: state.last_seq, messages };
}

/** The replica on that node, or why it cannot be read. */
export async function replicaOn(
  connection: NatsConnection,
  replica: Replica,
  byConsumer: boolean,
): Promise<ReplicaState | string> {
  const { stream } = replica;
  const node = replica.cluster.names[replica.node];
  const jsm = await connection.jetstreamManager({ timeout: REQUEST_MS, checkAPI: false });
  const deadline = performance.now() + 2 * LEAD_MS_MAX;
  let why = 'it did not come to lead';
  while (performance.now() < deadline) {
    if (!(await lead(connection, jsm, replica))) break;
    try {
      const { lastSeq, messages } = await messagesOf(connection, jsm, stream, byConsumer);
      if (!(await leads(jsm, replica))) continue;
      const hash = createHash('sha256');
      for (const { seq, subject, content } of messages) hash.update(`${seq} ${subject} ${content}\n`);
      return { node, digest: hash.digest('hex'), applied: 0, lastSeq, messages };
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      why = error.message;
    }
  }
  return `${stream} on ${node} cannot be read: ${why}`;
}
