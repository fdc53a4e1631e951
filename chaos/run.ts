// `npm run chaos`: three real processes behind toxiproxy, clients at work, faults from a seed or by name, and every promise checked.
//   npm run chaos -- [--minutes 5] [--seed N] [--rate 1000] [--bulk 0] [--round 90] [--payload 128] [--out DIR]
//   npm run chaos -- SCENARIO … [--hold MS]      these, once each, for as long as that
//   npm run chaos -- --list
// Exit 1 when anything acknowledged is missing, twice, out of order or different on a replica, when nobody was served for too long, or
// when bytes went around the proxies.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type NatsConnection as NewerConnection, connect as newerConnect } from '@nats-io/transport-node';
import { connect, type NatsConnection } from 'nats';
import { skip } from '../test/watch/tools.ts';
import { Cluster } from './cluster.ts';
import { faultRows, type Report, tableOf, write } from './report.ts';
import { playRound, type RoundResult } from './round.ts';
import { chanceOf, drawn, SCENARIOS, type Scenario, storm } from './scenarios.ts';
import { startToxiproxy, type ToxiproxyServer } from './toxiproxy.ts';

/** On the terminal; the report has all. */
const FINDINGS_TOLD = 40;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string' },
    rate: { type: 'string', default: '1000' },
    bulk: { type: 'string', default: '0' },
    payload: { type: 'string', default: '128' },
    hold: { type: 'string' },
    // Seconds of faults; then everything is read and judged.
    round: { type: 'string', default: '90' },
    out: { type: 'string', default: '.cache/chaos' },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

const startMs = performance.now();
const say = (text: string): void =>
  void process.stdout.write(`${((performance.now() - startMs) / 1000).toFixed(1).padStart(7)} ${text}\n`);

const patient = (urls: readonly string[]) => ({
  servers: [...urls],
  noRandomize: true,
  ignoreClusterUpdates: true,
  maxReconnectAttempts: -1,
  reconnectTimeWait: 100,
  timeout: 3000,
  // A silent connection is noticed within four seconds.
  pingInterval: 2000,
  maxPingOut: 1,
});

const clientOf = (urls: readonly string[]): Promise<NatsConnection> => connect(patient(urls));
const newerClientOf = (urls: readonly string[]): Promise<NewerConnection> => newerConnect(patient(urls));

function scenariosNamed(names: readonly string[], chance: (below: number) => number): Scenario[] {
  const forMs = values.hold === undefined ? undefined : ([Number(values.hold), Number(values.hold)] as const);
  return names.map((name) => {
    const found = name === 'storm' ? storm(chance) : SCENARIOS.find((scenario) => scenario.name === name);
    if (found === undefined) throw new Error(`no scenario ${name}; --list shows them`);
    return forMs === undefined ? found : { ...found, forMs };
  });
}

/** Whoever stops the run stops its processes: a signal that is not handled would leave them behind. It may come more than once. */
const ended = new Promise<string>((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, resolve);
});

/** The older client's ordered consumer resets itself without catching what goes wrong there; its fetch then ends by our own deadline. */
process.on('unhandledRejection', (error) => {
  const known = error instanceof TypeError && error.stack?.includes('OrderedPullConsumerImpl') === true;
  if (!known) throw error;
  say(`the client's ordered consumer failed to reset: ${error.message}`);
});

class Run {
  readonly #seed: number;
  readonly #rounds: RoundResult[] = [];
  readonly #acksPerSecond: number[] = [];
  readonly #startedAt = new Date().toISOString();

  constructor(seed: number) {
    this.#seed = seed;
  }

  async play(toxiproxy: ToxiproxyServer): Promise<number> {
    const cluster = new Cluster(toxiproxy);
    let failed = true;
    try {
      const report = await Promise.race([this.#perform(cluster), ended]);
      if (typeof report === 'string') {
        say(`ended by ${report}`);
        failed = false;
        return 1;
      }
      write(values.out, report);
      writeFileSync(join(values.out, 'nodes.log'), cluster.target.logs());
      process.stdout.write(`\n${tableOf(report)}\n\n`);
      failed = report.findings.length > 0;
      for (const finding of report.findings.slice(0, FINDINGS_TOLD)) say(`FAILED: ${finding}`);
      const { acknowledged } = report.counts;
      say(`${acknowledged} acknowledged, ${report.findings.length} findings; ${values.out}/report.html`);
      return failed ? 1 : 0;
    } finally {
      if (failed) this.#keepEvidence(cluster);
      await cluster.stop(failed);
    }
  }

  async #perform(cluster: Cluster): Promise<Report> {
    const chance = chanceOf(this.#seed);
    const named = scenariosNamed(positionals, chance);
    const scenarios = named.length > 0 ? named.values() : drawn(chance);
    const playMs = named.length > 0 ? Number.POSITIVE_INFINITY : Number(values.minutes) * 60_000;
    await cluster.start();
    say('three nodes serve, each reaching the others only through proxies');
    // One stays with each node: else all would meet on the node that came back first, and be cut off together. One moves on.
    const clients: NatsConnection[] = [];
    for (const url of cluster.clientUrls) clients.push(await clientOf([url]));
    clients.push(await clientOf(cluster.clientUrls));
    // Not where that one begins.
    const newer = await newerClientOf([...cluster.clientUrls].reverse());
    const admin = await clientOf(cluster.target.urls);
    const deadlineMs = performance.now() + playMs;
    for (let round = 1; round === 1 || (named.length === 0 && performance.now() < deadlineMs); round++) {
      const untilMs =
        named.length > 0 ? deadlineMs : Math.min(deadlineMs, performance.now() + Number(values.round) * 1000);
      const options = {
        round,
        scenarios,
        untilMs,
        chance,
        say,
        rate: Number(values.rate),
        bulk: Number(values.bulk),
        payloadBytes: Number(values.payload),
      };
      const result = await playRound(cluster, { clients, newer, admin }, options);
      this.#take(result);
      say(`round ${round}: ${result.acked} acknowledged, ${result.findings.length} findings`);
      if (result.findings.length > 0) break;
    }
    for (const connection of [...clients, newer, admin]) await connection.close();
    return await this.#report(cluster);
  }

  #take(result: RoundResult): void {
    const { histories } = result;
    for (const { events } of Object.values(histories)) {
      for (const event of events) {
        if (event.kind !== 'acked') continue;
        const second = Math.floor((event.at - startMs) / 1000);
        while (this.#acksPerSecond.length <= second) this.#acksPerSecond.push(0);
        this.#acksPerSecond[second]++;
      }
    }
    if (result.findings.length > 0) {
      mkdirSync(values.out, { recursive: true });
      for (const [kind, history] of Object.entries(histories)) {
        const lines = [...history.events, ...history.replicas].map((event) => JSON.stringify(event));
        writeFileSync(join(values.out, `history-${kind}.jsonl`), `${lines.join('\n')}\n`);
      }
    }
    // The rest of a long run does not need what was found to be sound.
    for (const history of Object.values(histories)) {
      history.events.length = 0;
      history.replicas.length = 0;
    }
    this.#rounds.push(result);
  }

  async #report(cluster: Cluster): Promise<Report> {
    const rounds = this.#rounds;
    const sum = (read: (result: RoundResult) => number): number =>
      rounds.reduce((total, each) => total + read(each), 0);
    const byteAccounts = await cluster.accounts((performance.now() - startMs) / 1000);
    const findings = rounds.flatMap((round) => round.findings);
    for (const { node, out, taken, owed, in: read, ok } of byteAccounts) {
      if (ok) continue;
      const counts = `it wrote ${out} bytes, the proxies took ${taken}; they took ${owed} for it, it read ${read}`;
      findings.push(`${node}: ${counts}: not everything went through the proxies, or not everything is counted`);
    }
    const checks: Record<string, number> = {};
    for (const { found } of rounds)
      for (const [check, count] of Object.entries(found)) checks[check] = (checks[check] ?? 0) + count;
    const faults = rounds.flatMap((round) => faultRows(round.faults, startMs));
    return {
      seed: this.#seed,
      command: this.#command(),
      startedAt: this.#startedAt,
      seconds: Math.round((performance.now() - startMs) / 1000),
      rounds: rounds.length,
      counts: {
        acknowledged: sum((round) => round.acked),
        'told that it is a duplicate': sum((round) => round.duplicatesTold),
        'outcome unknown': sum((round) => round.unknown),
        refused: sum((round) => round.refused),
        delivered: sum((round) => round.delivered),
        'acks confirmed': sum((round) => round.confirmed),
        'copies in flight at a confirmation': sum((round) => round.copiesInFlight),
        'compare-and-set won': sum((round) => round.kvWrites),
        'key-value reads': sum((round) => round.kvReads),
        'lists of keys': sum((round) => round.lists.listed),
        'lists that failed': sum((round) => round.lists.failed),
        'lists that a heartbeat ended': sum((round) => round.lists.endedByHeartbeat),
        'watches begun again': sum((round) => round.lists.watchesEnded),
        'messages to readers that lacked the end': sum((round) => round.lists.nudges),
        faults: faults.length,
      },
      checks,
      findings,
      byteAccounts,
      faults,
      acksPerSecond: this.#acksPerSecond,
    };
  }

  #command(): string {
    const { minutes, round, rate, bulk, payload } = values;
    const flags = { minutes, seed: this.#seed, round, rate, bulk, payload };
    return [
      'npm run chaos --',
      ...positionals,
      ...Object.entries(flags).map(([flag, value]) => `--${flag} ${value}`),
    ].join(' ');
  }

  #keepEvidence(cluster: Cluster): void {
    mkdirSync(values.out, { recursive: true });
    writeFileSync(join(values.out, 'nodes.log'), cluster.target.logs());
    say(`evidence: ${values.out}/nodes.log, data directories in ${cluster.target.dir}`);
  }
}

async function main(): Promise<number> {
  if (values.help || values.list) {
    process.stdout.write(
      'npm run chaos -- [SCENARIO …] [--minutes 5] [--seed N] [--rate 1000] [--bulk 0] [--round 90] [--payload 128] [--hold MS] [--out DIR]\n',
    );
    for (const { name, about } of SCENARIOS) process.stdout.write(`  ${name.padEnd(18)} ${about}\n`);
    process.stdout.write(`  ${'storm'.padEnd(18)} two or three of these at once\n`);
    return 0;
  }
  const seed = Number(values.seed ?? Math.floor(Math.random() * 1e6));
  const toxiproxy = await startToxiproxy();
  if (typeof toxiproxy === 'string') return skip('chaos', toxiproxy);
  say(`seed ${seed}`);
  try {
    return await new Run(seed).play(toxiproxy);
  } finally {
    toxiproxy.stop();
  }
}

process.exit(await main());
