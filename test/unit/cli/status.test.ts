// `flotilla status` and `flotilla top`: what several nodes say becomes one picture, and the exit code says whether anything is at risk.
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { clusterStatusOf, monitorUrlOf } from '../../../src/cli/cluster-status.ts';
import { bytesText, countText, durationText, ratesOf, statusLines } from '../../../src/cli/status-text.ts';
import { type StartedServer, startNode } from '../../../src/index.ts';
import { emptyCensus, walk } from '../../../src/monitoring/census.ts';
import type { NodeSample } from '../../../src/monitoring/metric-table.ts';
import { type NodeStatus, statusOf } from '../../../src/monitoring/status.ts';
import { FakeView } from '../monitoring/fake-view.ts';
import { plainEnv } from './plain-env.ts';

/** The machine may be busy with other tests. */
const PATIENT = ['--timeout', '20000'];
const MAIN = join(import.meta.dirname, '../../../src/cli/main.ts');

function sampleOf(view: FakeView): NodeSample {
  const census = emptyCensus();
  for (const _ of walk(view, census));
  return {
    view,
    traffic: view.traffic(),
    stats: view.stats(),
    census,
    disk: { sizeBytes: 2e12, quarantinedFiles: 0 },
    fatal: { disk: 0, invariant: 0, lastUs: 0, lastReason: '' },
  };
}

function answer(name: string, change: (view: FakeView) => void = () => {}): { url: string; status: NodeStatus } {
  const view = new FakeView({ partitions: 2, consumersEach: 1 });
  view.identity.serverName = name;
  view.others = ['n1', 'n2', 'n3']
    .filter((other) => other !== name)
    .map((other) => ({
      name: other,
      monitorUrl: `127.0.0.1:822${other[1]}`,
      clusterUrl: `10.0.0.${other[1]}:6222`,
      connected: true,
    }));
  change(view);
  return { url: `http://10.0.0.${name[1]}:822${name[1]}`, status: statusOf(sampleOf(view)) };
}

describe('picture', () => {
  test('three healthy nodes: nothing is at risk', () => {
    const picture = clusterStatusOf([answer('n3'), answer('n1'), answer('n2')], []);
    expect(picture).toMatchObject({ cluster: 'c', meta_leader: 'n1', healthy: true, alarms: [] });
    expect(picture.nodes.map(({ name }) => name)).toEqual(['n1', 'n2', 'n3']);
    const text = statusLines(picture).join('\n');
    expect(text).toContain('3 of 3 nodes answer; meta leader n1');
    expect(text).toMatch(/n2 +ok +2 +2 +0 +3/);
    expect(text).toContain('Nothing is at risk.');
  });

  test('a node that only others know of is down, and said first', () => {
    const lonely = (view: FakeView): void => {
      view.others[1].connected = false;
      view.change = { inSync: 2 };
    };
    const picture = clusterStatusOf([answer('n1', lonely), answer('n2', lonely)], []);
    expect(picture.healthy).toBe(false);
    expect(picture.alarms[0]).toEqual({
      node: 'n3',
      name: 'FlotillaNodeDown',
      severity: 'critical',
      text: 'does not answer at http://10.0.0.3:8223',
    });
    expect(picture.alarms.map(({ name }) => name)).toContain('FlotillaUnderReplicated');
    expect(picture.partitions.under_replicated).toBe(4);
    const text = statusLines(picture).join('\n');
    expect(text).toMatch(/n3 +DOWN/);
    expect(text).toContain('n1: $G S0/0: 2 of 3 replicas in sync');
  });

  test('a node that is cut off does not speak for the others', () => {
    const cutOff = (view: FakeView): void => {
      view.metaLeader = '';
      view.change = { leaderless: 2 };
    };
    const picture = clusterStatusOf([answer('n1', cutOff), answer('n2'), answer('n3')], []);
    expect(picture.partitions.leaderless).toBe(0);
    expect(picture.alarms.map(({ node }) => node)).toEqual(['n1', 'n1']);
    const nobody = clusterStatusOf([answer('n1', cutOff), answer('n2', cutOff), answer('n3', cutOff)], []);
    expect(nobody.partitions.leaderless).toBe(2);
  });

  test('every alarm that a node can tell by itself appears when its condition holds', () => {
    const alarms = (change: (view: FakeView, sample: NodeSample) => void): string[] => {
      const view = new FakeView({ partitions: 1, consumersEach: 1 });
      const before = sampleOf(view);
      change(view, before);
      const sample = { ...sampleOf(view), disk: before.disk };
      return statusOf(sample).alarms.map(({ name }) => name);
    };
    expect(alarms(() => {})).toEqual([]);
    expect(alarms((v) => (v.change = { leaderless: 1 }))).toEqual(['FlotillaPartitionsLeaderless']);
    expect(alarms((v) => (v.metaLeader = ''))).toEqual(['FlotillaMetaLeaderless']);
    expect(alarms((v) => (v.change = { inSync: 1 }))).toEqual(['FlotillaUnderReplicated']);
    expect(alarms((v) => (v.change = { lag: 20_001 }))).toEqual(['FlotillaFollowerLag']);
    expect(alarms((v) => (v.others[0].connected = false))).toEqual(['FlotillaLinksMissing']);
    expect(alarms((v) => (v.nodeStats!.disk.isLow = true))).toEqual(['FlotillaDiskFull']);
    expect(alarms((v) => (v.nodeStats!.disk.freeBytes = 1e11))).toEqual(['FlotillaDiskNearlyFull']);
    expect(alarms((v) => (v.nodeStats!.host.diskStuck = 1))).toEqual(['FlotillaSyncStuck']);
    expect(alarms((v) => (v.nodeStats!.host.digestMismatches = 1))).toEqual(['FlotillaDigestMismatch']);
    expect(alarms((_, s) => (s.disk.quarantinedFiles = 2))).toEqual(['FlotillaQuarantine']);
    expect(alarms((v) => (v.nodeStats!.host.rangesInRepair = 1))).toEqual(['FlotillaDamagedRanges']);
    expect(alarms((v) => (v.nodeStats!.host.clockSpreadUs = 2e6))).toEqual(['FlotillaClockSpread']);
    const stalled = (v: FakeView): void => {
      v.change = { ackUs: 1 };
      v.wallUs = 1e9;
    };
    expect(alarms(stalled)).toEqual(['FlotillaConsumerStuck']);
  });

  test('an address that means its own machine is asked where others reach it', () => {
    const peer = { monitorUrl: '127.0.0.1:8223', clusterUrl: '10.0.0.2:6222' };
    expect(monitorUrlOf(peer, 'http://10.0.0.1:8222')).toBe('http://10.0.0.2:8223');
    expect(monitorUrlOf(peer, 'http://127.0.0.1:8222')).toBe('http://127.0.0.1:8223');
    expect(monitorUrlOf({ ...peer, monitorUrl: '' }, 'http://127.0.0.1:8222')).toBe('');
  });

  test('rates are differences, and begin again after a restart', () => {
    const [before, now] = [answer('n1').status, answer('n1').status];
    now.counters.publishes_stored = before.counters.publishes_stored + 500;
    expect(ratesOf(before, now, 2)?.publishes_stored).toBe(250);
    expect(ratesOf(undefined, now, 2)).toBeUndefined();
    now.uptime_seconds = before.uptime_seconds - 1;
    expect(ratesOf(before, now, 2)).toBeUndefined();
  });

  test('numbers for people', () => {
    expect([0, 999, 1500, 2e9, Number.NaN].map(bytesText)).toEqual(['0 B', '999 B', '1.5 KB', '2.0 GB', '?']);
    expect([0, 0.25, 9.99, 12.4, 12345].map(countText)).toEqual(['0', '0.3', '10.0', '12', '12,345']);
    expect([5, 65, 3700, 90_000].map(durationText)).toEqual(['5s', '1m5s', '1h1m', '1d1h']);
  });
});

describe('processes', () => {
  let server: StartedServer;
  beforeAll(async () => {
    server = await startNode({ name: 'alone', monitorPort: 0 });
    while ((await fetch(`${server.monitorUrl}/healthz`)).status !== 200)
      await new Promise((resume) => setTimeout(resume, 50));
  });
  afterAll(() => server.close());

  function run(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
    return new Promise((done) => {
      const child = spawn(process.execPath, [MAIN, ...args], { env: { ...plainEnv(), TERM: 'dumb' } });
      let out = '';
      let err = '';
      child.stdout.setEncoding('utf8').on('data', (text) => (out += text));
      child.stderr.setEncoding('utf8').on('data', (text) => (err += text));
      child.on('close', (code) => done({ code, out, err }));
    });
  }

  test('a healthy node: 0, as text, as JSON, and as one picture with rates', async () => {
    const [text, json, once] = await Promise.all([
      run('status', ...PATIENT, '-m', server.monitorUrl),
      run('status', ...PATIENT, '--json', '-m', server.monitorUrl.slice('http://'.length)),
      run('top', ...PATIENT, '--once', '--interval', '100', '-m', server.monitorUrl),
    ]);
    expect(text, text.err).toMatchObject({ code: 0, err: '' });
    expect(text.out).toMatch(/alone +ok/);
    expect(json.code).toBe(0);
    expect(JSON.parse(json.out)).toMatchObject({ healthy: true, nodes: [{ name: 'alone' }] });
    expect(once.code).toBe(0);
    expect(once.out).toMatch(/per second +msgs in/);
    expect(once.out).not.toContain('\x1b');
  });

  test('one of the named nodes is silent: 1', async () => {
    const { code, out } = await run('status', ...PATIENT, '-m', `${server.monitorUrl},http://127.0.0.1:1`);
    expect(code).toBe(1);
    expect(out).toContain('CRITICAL  http://127.0.0.1:1: does not answer at http://127.0.0.1:1 (FlotillaNodeDown)');
  });

  test('nobody answers, another program answers, or the line is wrong: 2 and why', async () => {
    const other = createServer((_request, response) => response.end('{"hello":"world"}'));
    await new Promise<void>((up) => other.listen(0, '127.0.0.1', up));
    const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
    const runs = await Promise.all([
      run('status', '-m', 'http://127.0.0.1:1'),
      run('top', '--once', '-m', url),
      run('status', '-m', 'ftp://x'),
      run('status', '--jsno'),
      run('top', '--interval', '1'),
    ]);
    other.close();
    expect(runs.map(({ code }) => code)).toEqual([2, 2, 2, 2, 2]);
    expect(runs[0].err).toContain('no node answers at http://127.0.0.1:1; is the monitoring port on');
    expect(runs[2].err).toContain('is not an address');
    expect(runs[3].err).toContain('did you mean --json?');
  });

  test('load: everything acknowledged is consumed', async () => {
    const { code, out, err } = await run('load', '-s', server.clientUrl, '--seconds', '1', '--rate', '100');
    expect(code, err).toBe(0);
    expect(out).toMatch(/\d+ acknowledged, \d+ consumed, \d+ repeated, 0 missing/);
  });

  test('--help says what the exit codes mean', async () => {
    const { code, out } = await run('status', '--help');
    expect(code).toBe(0);
    expect(out).toContain('0 nothing is at risk, 1 something is, 2 nobody answers');
  });
});
