// One round: clients on fresh streams, faults one after the other, then healing, draining, and the judgement of every history against
// every replica. Called by run.ts. Invariant: nothing is judged before all faults are undone; nothing is forgiven afterwards.
import { setTimeout as pause } from 'node:timers/promises';
import type { NatsConnection } from 'nats';
import { CHECKERS } from '../test/checkers/checkers.ts';
import type { FaultWindow, Finding, History, ReplicaState } from '../test/checkers/history.ts';
import { outages } from '../test/checkers/service.ts';
import { type Cluster, NODES } from './cluster.ts';
import { play, type World } from './deeds.ts';
import { replicaOn } from './replicas.ts';
import type { Chance, Scenario } from './scenarios.ts';
import { IN_FLIGHT_MS, STREAMS, type StreamKind, Workload, type WorkloadOptions } from './workload.ts';

const READY_MS_MAX = 120_000;
const DRAIN_MS_MAX = 120_000;
const REFILL_MS_MAX = 120_000;
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
}

export interface RoundOptions extends WorkloadOptions {
  scenarios: Iterator<Scenario>;
  /** No new fault after that. */
  untilMs: number;
  chance: Chance;
  say(text: string): void;
}

/** Streams are made and asked for by `admin`, directly; clients come through the proxies. */
export async function playRound(
  cluster: Cluster,
  clients: readonly NatsConnection[],
  admin: NatsConnection,
  options: RoundOptions,
): Promise<RoundResult> {
  const { chance, say } = options;
  const workload = new Workload(clients, admin, options);
  await workload.start();
  const findings: string[] = [];
  const faults: Fault[] = [];
  const world: World = {
    cluster,
    chance,
    say,
    leader: () => leaderByMetrics(cluster, workload.streams.log),
    refilled: async (node) => {
      const why = await replicated(admin, workload, REFILL_MS_MAX);
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
  const missing = await replicated(admin, workload, READY_MS_MAX);
  if (missing !== undefined) findings.push(`not replicated ${READY_MS_MAX} ms after healing: ${missing}`);
  const rest = await drained(workload);
  if (rest !== undefined) findings.push(`not drained ${DRAIN_MS_MAX} ms after healing: ${rest}`);
  await workload.stop();
  say('drained; reading every replica');
  const replicas: Record<StreamKind, ReplicaState[]> = { log: [], work: [], kv: [], bulk: [] };
  for (const kind of STREAMS) {
    for (const node of NODES) {
      const state = await replicaOn(admin, workload.streams[kind], cluster.names[node], kind !== 'work');
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
    for (const check of Object.values(CHECKERS)) {
      const list: Finding[] = check(histories[kind]);
      found[check.name] = (found[check.name] ?? 0) + list.length;
      for (const finding of list.slice(0, FINDINGS_KEPT))
        findings.push(`${workload.streams[kind]} ${finding.check}: ${finding.text}`);
    }
  }
  const outageOf = new Map(outages(histories.log.events, faults).map((outage) => [outage.fault, outage.longestMs]));
  for (const fault of faults) fault.longestMs = outageOf.get(fault) ?? 0;
  await forget(admin, workload);
  return { faults, histories, found, findings, ...countsOf(histories) };
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
  for (const kind of STREAMS) {
    const stream = workload.streams[kind];
    let highest = 0;
    for (const event of histories[kind].events) if (event.kind === 'acked') highest = Math.max(highest, event.seq);
    const stored: [string, number][] = [];
    for (const node of NODES) {
      const name = cluster.names[node];
      const metrics = await cluster.metrics(node);
      if (metrics === undefined) {
        findings.push(`${name} gives no metrics after healing`);
        continue;
      }
      const of = (metric: string): number =>
        metrics.get(`${metric}{account="$G",stream="${stream}",partition="0"}`) ?? Number.NaN;
      stored.push([name, of('flotilla_stream_last_seq')]);
      const acked = of('flotilla_stream_last_acked_seq');
      if (acked > highest) highest = acked;
      const differing = metrics.get('flotilla_digest_mismatches_total') ?? Number.NaN;
      if (differing !== 0) findings.push(`${name} counts ${differing} digest mismatches`);
    }
    for (const [name, last] of stored) {
      if (!(highest <= last)) findings.push(`${stream} on ${name} ends at ${last}, but ${highest} was acknowledged`);
    }
  }
  return findings;
}

async function leaderByMetrics(cluster: Cluster, stream: string): Promise<number | undefined> {
  let found: number | undefined;
  let highestTerm = -1;
  const labels = `{account="$G",stream="${stream}",partition="0"}`;
  for (const node of NODES) {
    const metrics = cluster.target.pid(node) === undefined ? undefined : await cluster.metrics(node);
    const term = metrics?.get(`flotilla_partition_term${labels}`) ?? -1;
    if (metrics?.get(`flotilla_partition_leading${labels}`) === 1 && term > highestTerm) {
      highestTerm = term;
      found = node;
    }
  }
  return found;
}

/** Undefined: each stream has three replicas and all are current. */
async function replicated(admin: NatsConnection, workload: Workload, withinMs: number): Promise<string | undefined> {
  const deadline = performance.now() + withinMs;
  const jsm = await admin.jetstreamManager({ timeout: REQUEST_MS, checkAPI: false });
  for (const stream of Object.values(workload.streams)) {
    for (;;) {
      let seen = 'no answer';
      try {
        const { cluster } = await jsm.streams.info(stream);
        seen = `${stream} ${JSON.stringify(cluster)}`;
        const replicas = cluster?.replicas ?? [];
        if (cluster?.leader && replicas.length === 2 && replicas.every(({ current }) => current)) break;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
      }
      if (performance.now() > deadline) return seen;
      await pause(200);
    }
  }
  return undefined;
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
