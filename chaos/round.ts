// One round: clients on fresh streams, faults one after the other, then healing, draining, and the judgement of every history against
// every replica. Called by run.ts. Invariant: nothing is judged before all faults are undone; nothing is forgiven afterwards.
import { setTimeout as pause } from 'node:timers/promises';
import type { NatsConnection } from 'nats';
import { CHECKERS } from '../test/checkers/checkers.ts';
import {
  byPartition,
  type FaultWindow,
  type Finding,
  type History,
  type ReplicaState,
} from '../test/checkers/history.ts';
import { outages } from '../test/checkers/service.ts';
import { type Cluster, type Metrics, NODES, seriesOfPartition } from './cluster.ts';
import { play, type World } from './deeds.ts';
import { judgeListings, replacedIn, skippedBy } from './listings.ts';
import { replicaOn } from './replicas.ts';
import type { Chance, Scenario } from './scenarios.ts';
import {
  type Connections,
  IN_FLIGHT_MS,
  PARTITIONS,
  STREAMS,
  type StreamKind,
  Workload,
  type WorkloadOptions,
} from './workload.ts';

const READY_MS_MAX = 120_000;
const DRAIN_MS_MAX = 120_000;
/** Over links that take 100 ms more, while clients write more than the links carry beside that. */
const REFILL_MS_MAX = 240_000;
const REQUEST_MS = 5000;
/** Once a fault is over, somebody is served within this time. */
const RECOVERY_MS_MAX = 60_000;
const CALM_MS = { min: 1000, more: 2000 };
const FINDINGS_KEPT = 200;

export interface Fault extends FaultWindow {
  about: string;
  heldMs: number;
  acked: number;
  longestMs: number;
}

export interface RoundResult {
  round: number;
  faults: Fault[];
  histories: Record<StreamKind, History>;
  /** Per check and stream; a number for every check that ran. */
  found: Record<string, number>;
  findings: string[];
  acked: number;
  unknown: number;
  refused: number;
  duplicatesTold: number;
  delivered: number;
  confirmed: number;
  /** Copies that arrived after a confirmation, within the time that one may have been on its way. */
  copiesInFlight: number;
  kvWrites: number;
  kvReads: number;
  lists: ListCounts;
}

export interface ListCounts {
  listed: number;
  failed: number;
  endedByHeartbeat: number;
  watchesEnded: number;
  nudges: number;
}

export interface RoundOptions extends WorkloadOptions {
  scenarios: Iterator<Scenario>;
  /** No new fault after that. */
  untilMs: number;
  chance: Chance;
  say(text: string): void;
}

export async function playRound(
  cluster: Cluster,
  connections: Connections,
  options: RoundOptions,
): Promise<RoundResult> {
  const { chance, say } = options;
  const { admin } = connections;
  const workload = new Workload(connections, options);
  await workload.start();
  const findings: string[] = [];
  const faults: Fault[] = [];
  const world: World = {
    cluster,
    chance,
    say,
    leader: () => leaderByMetrics(cluster, workload.streams.log),
    refilled: async (node) => {
      const why = await replicated(cluster, admin, workload, REFILL_MS_MAX);
      if (why !== undefined) findings.push(`${cluster.names[node]} was not refilled in ${REFILL_MS_MAX} ms: ${why}`);
    },
  };
  await pause(CALM_MS.min + CALM_MS.more);
  while (performance.now() < options.untilMs) {
    const { value: scenario, done } = options.scenarios.next();
    if (done) break;
    const from = performance.now();
    const ackedBefore = workload.acked;
    const last = faults.at(-1);
    if (last) last.until = from;
    say(`${scenario.name}: ${scenario.about}`);
    await play(world, scenario);
    const heldMs = performance.now() - from;
    const { name, about } = scenario;
    const silentMsMax = heldMs + RECOVERY_MS_MAX;
    const fault = { name, about, from, until: 0, silentMsMax, heldMs, acked: 0, longestMs: 0 };
    faults.push(fault);
    await cluster.target.ready(READY_MS_MAX);
    await pause(CALM_MS.min + chance(CALM_MS.more));
    fault.acked = workload.acked - ackedBefore;
    say(
      `  all serve ${Math.round(performance.now() - from - heldMs)} ms after it; ${fault.acked} acknowledged meanwhile`,
    );
  }
  const endMs = performance.now();
  const last = faults.at(-1);
  if (last) last.until = endMs;
  return { ...(await judged(cluster, admin, workload, faults, findings, say)), round: options.round };
}

async function judged(
  cluster: Cluster,
  admin: NatsConnection,
  workload: Workload,
  faults: Fault[],
  findings: string[],
  say: (text: string) => void,
): Promise<Omit<RoundResult, 'round'>> {
  await workload.stopPublishing();
  const missing = await replicated(cluster, admin, workload, READY_MS_MAX);
  if (missing !== undefined) findings.push(`not replicated ${READY_MS_MAX} ms after healing: ${missing}`);
  const rest = await drained(workload);
  if (rest !== undefined) findings.push(`not drained ${DRAIN_MS_MAX} ms after healing: ${rest}`);
  await workload.stop();
  say('drained; reading every replica');
  const replicas: Record<StreamKind, ReplicaState[]> = { log: [], work: [], kv: [], keys: [], parts: [], bulk: [] };
  for (const kind of STREAMS) {
    for (const node of NODES) {
      const replica = { cluster, stream: workload.streams[kind], partitions: PARTITIONS[kind], node };
      const state = await replicaOn(admin, replica, kind !== 'work');
      if (typeof state === 'string') findings.push(state);
      else replicas[kind].push(state);
    }
  }
  const histories = Object.fromEntries(
    STREAMS.map((kind) => [kind, historyOf(workload, kind, replicas[kind], faults, rest === undefined)]),
  ) as Record<StreamKind, History>;
  findings.push(...(await againstMetrics(cluster, workload, histories)));
  const found: Record<string, number> = {};
  for (const kind of STREAMS) {
    for (const history of byPartition(histories[kind], PARTITIONS[kind])) {
      for (const check of Object.values(CHECKERS)) {
        const list: Finding[] = check(history);
        found[check.name] = (found[check.name] ?? 0) + list.length;
        for (const finding of list.slice(0, FINDINGS_KEPT))
          findings.push(`${workload.streams[kind]} ${finding.check}: ${finding.text}`);
      }
    }
  }
  const { writes, listings, watches, unlisted, unwatched } = workload.keys;
  const judgedLists = judgeListings(writes, listings, faults);
  found.listings = judgedLists.findings.length;
  for (const finding of judgedLists.findings.slice(0, FINDINGS_KEPT))
    findings.push(`${workload.streams.keys} listing: ${finding}`);
  const skipped = watches.flatMap((watch) => skippedBy(watch, writes, histories.keys.events));
  found.watches = skipped.length;
  for (const finding of skipped.slice(0, FINDINGS_KEPT)) findings.push(`${workload.streams.keys} watch: ${finding}`);
  const { endedByHeartbeat } = judgedLists;
  const counted = { failed: unlisted, watchesEnded: unwatched, nudges: workload.nudges };
  const lists = { listed: listings.length, endedByHeartbeat, ...counted };
  const outageOf = new Map(outages(histories.log.events, faults).map((outage) => [outage.fault, outage.longestMs]));
  for (const fault of faults) fault.longestMs = outageOf.get(fault) ?? 0;
  await forget(admin, workload);
  return { faults, histories, found, findings, lists, ...countsOf(histories) };
}

function historyOf(
  workload: Workload,
  kind: StreamKind,
  replicas: ReplicaState[],
  faults: Fault[],
  wasDrained: boolean,
): History {
  const events = workload.events[kind];
  const { drained, ordered } = workload.consumers[kind];
  const history: History = {
    events,
    replicas,
    removed: new Set(),
    drained: wasDrained ? drained : [],
    ordered,
    inFlightMs: IN_FLIGHT_MS,
    faults: kind === 'log' ? faults : [],
  };
  if (kind === 'keys') return { ...history, ...replacedIn(events) };
  if (kind !== 'work') return history;
  const seqsOf = (wanted: 'ack-sent' | 'ack-confirmed'): Set<number> =>
    new Set(events.flatMap((event) => (event.kind === wanted ? [event.seq] : [])));
  return { ...history, removed: seqsOf('ack-sent'), gone: seqsOf('ack-confirmed'), removedByAcks: true };
}

/** What nodes say of themselves: nobody acknowledged more than every replica has stored, and no state differs. */
async function againstMetrics(
  cluster: Cluster,
  workload: Workload,
  histories: Record<StreamKind, History>,
): Promise<string[]> {
  const findings: string[] = [];
  const pages: (readonly [name: string, page: Metrics | undefined])[] = [];
  for (const node of NODES) pages.push([cluster.names[node], await cluster.metrics(node)]);
  for (const [name, page] of pages) {
    if (page === undefined) findings.push(`${name} gives no metrics after healing`);
    const differing = page?.get('flotilla_digest_mismatches_total');
    if (page && differing !== 0) findings.push(`${name} counts ${differing} digest mismatches`);
  }
  for (const kind of STREAMS) {
    const stream = workload.streams[kind];
    const partitions = PARTITIONS[kind];
    const highest: number[] = Array.from({ length: partitions }, () => 0);
    for (const event of histories[kind].events) {
      if (event.kind === 'acked')
        highest[event.seq % partitions] = Math.max(highest[event.seq % partitions], event.seq);
    }
    for (const [partition, seen] of highest.entries()) {
      const of = (page: Metrics | undefined, metric: string): number =>
        page?.get(seriesOfPartition(metric, stream, partition)) ?? 0;
      const acked = pages.reduce((most, [, page]) => Math.max(most, of(page, 'flotilla_stream_last_acked_seq')), seen);
      for (const [name, page] of pages) {
        const last = of(page, 'flotilla_stream_last_seq');
        if (last < acked)
          findings.push(`${stream}, partition ${partition}, on ${name} ends at ${last}, but ${acked} was acknowledged`);
      }
    }
  }
  return findings;
}

async function leaderByMetrics(cluster: Cluster, stream: string): Promise<number | undefined> {
  let found: number | undefined;
  let highestTerm = -1;
  for (const node of NODES) {
    const metrics = cluster.target.pid(node) === undefined ? undefined : await cluster.metrics(node);
    const term = metrics?.get(seriesOfPartition('flotilla_partition_term', stream, 0)) ?? -1;
    if (metrics?.get(seriesOfPartition('flotilla_partition_leading', stream, 0)) === 1 && term > highestTerm) {
      highestTerm = term;
      found = node;
    }
  }
  return found;
}

/** Undefined: each partition of each stream has three replicas and all are current. */
async function replicated(
  cluster: Cluster,
  admin: NatsConnection,
  workload: Workload,
  withinMs: number,
): Promise<string | undefined> {
  const deadline = performance.now() + withinMs;
  const jsm = await admin.jetstreamManager({ timeout: REQUEST_MS, checkAPI: false });
  for (const kind of STREAMS) {
    const stream = workload.streams[kind];
    for (;;) {
      let seen = 'no answer';
      try {
        const { cluster: told } = await jsm.streams.info(stream);
        const inSync = await replicasInSync(cluster, stream, PARTITIONS[kind]);
        seen = `${stream} ${JSON.stringify(told)}, replicas in sync: ${inSync}`;
        const replicas = told?.replicas ?? [];
        const areCurrent = replicas.length === 2 && replicas.every(({ current }) => current);
        if (told?.leader && areCurrent && inSync.every((count) => count === NODES.length)) break;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
      }
      if (performance.now() > deadline) return seen;
      await pause(200);
    }
  }
  return undefined;
}

/** Of each partition, by its leader; the stream's info tells of the first only. */
async function replicasInSync(cluster: Cluster, stream: string, partitions: number): Promise<number[]> {
  const counts: number[] = Array.from({ length: partitions }, () => 0);
  for (const node of NODES) {
    const metrics = await cluster.metrics(node);
    for (const partition of counts.keys()) {
      const inSync = metrics?.get(seriesOfPartition('flotilla_partition_replicas_in_sync', stream, partition)) ?? 0;
      counts[partition] = Math.max(counts[partition], inSync);
    }
  }
  return counts;
}

async function drained(workload: Workload): Promise<string | undefined> {
  const deadline = performance.now() + DRAIN_MS_MAX;
  for (;;) {
    let rest: string | undefined;
    try {
      rest = await workload.undrained();
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      rest = error.message;
    }
    if (rest === undefined || performance.now() > deadline) return rest;
    await pause(500);
  }
}

async function forget(admin: NatsConnection, workload: Workload): Promise<void> {
  const jsm = await admin.jetstreamManager({ timeout: REQUEST_MS, checkAPI: false });
  for (const stream of Object.values(workload.streams)) await jsm.streams.delete(stream);
}

function countsOf(histories: Record<StreamKind, History>) {
  const counts = { acked: 0, unknown: 0, refused: 0, duplicatesTold: 0, delivered: 0, confirmed: 0 };
  let copiesInFlight = 0;
  for (const kind of STREAMS) {
    const confirmed = new Set<string>();
    for (const event of histories[kind].events) {
      if (event.kind === 'acked') {
        counts.acked++;
        if (event.duplicate) counts.duplicatesTold++;
      } else if (event.kind === 'unknown') counts.unknown++;
      else if (event.kind === 'refused') counts.refused++;
      else if (event.kind === 'ack-confirmed') {
        counts.confirmed++;
        confirmed.add(`${event.consumer} ${event.seq}`);
      } else if (event.kind === 'delivered') {
        counts.delivered++;
        if (confirmed.has(`${event.consumer} ${event.seq}`)) copiesInFlight++;
      }
    }
  }
  const kv = histories.kv.events;
  const kvWrites = kv.filter(({ kind }) => kind === 'acked').length;
  const kvReads = kv.filter(({ kind }) => kind === 'read').length;
  return { ...counts, copiesInFlight, kvWrites, kvReads };
}
