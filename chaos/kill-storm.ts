// `npm run chaos`: three real processes under publishers, workers and compare-and-set writers, while nodes are killed, stopped,
// frozen and emptied in an order that a seed gives. At the end every replica in turn leads and is asked for everything that was
// acknowledged. Exit 1 if anything is missing, twice, out of order, or delivered after its ack was confirmed.
//   npm run chaos -- [--seconds 40] [--seed 1] [--faults kill,kill-two,kill-all,freeze,wipe,stop,stop-all]
import { existsSync, rmSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Target } from '../test/conformance/target.ts';
import { STREAMS, Workload } from './workload.ts';

const FAULTS = ['kill', 'kill-two', 'kill-all', 'freeze', 'wipe', 'stop', 'stop-all'] as const;
type Fault = (typeof FAULTS)[number];
const NODES = [0, 1, 2];
const FREEZE_MS = 5000;
const DRAIN_MS = 10_000;
const REFILL_MS_MAX = 40_000;
const LEAD_MS_MAX = 30_000;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '40' },
    seed: { type: 'string', default: '1' },
    payload: { type: 'string', default: '200' },
    faults: { type: 'string', default: FAULTS.join(',') },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

const pause = (ms: number): Promise<void> => new Promise((resume) => setTimeout(resume, ms));
const startMs = performance.now();
const say = (text: string): void =>
  void process.stdout.write(`${((performance.now() - startMs) / 1000).toFixed(1).padStart(6)} ${text}\n`);

/** xorshift32: the same faults for the same seed. */
function chanceOf(seed: number): (below: number) => number {
  let state = (seed * 2654435761) >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

async function inflict(
  target: Target,
  workload: Workload,
  fault: Fault,
  chance: (below: number) => number,
): Promise<void> {
  const first = chance(3);
  const others = NODES.filter((node) => node !== first);
  const downMs = 200 + chance(2500);
  say(`${fault} (${target.names[first]} first, ${downMs} ms)`);
  switch (fault) {
    case 'kill':
      await target.kill(first);
      await pause(downMs);
      break;
    case 'kill-two':
      await target.kill(first);
      await pause(chance(600));
      await target.kill(others[0]);
      await pause(downMs);
      target.launch(others[0]);
      await pause(chance(600));
      break;
    case 'kill-all':
      await Promise.all(NODES.map((node) => target.kill(node)));
      await pause(downMs / 4);
      for (const node of others) {
        target.launch(node);
        await pause(chance(400));
      }
      break;
    case 'freeze':
      target.signal(first, 'SIGSTOP');
      await pause(FREEZE_MS);
      target.signal(first, 'SIGCONT');
      return;
    case 'wipe':
      await target.kill(first);
      if (!existsSync(target.dataDir(first))) throw new Error(`${target.dataDir(first)} is not there`);
      rmSync(target.dataDir(first), { recursive: true });
      await pause(downMs);
      break;
    case 'stop':
      await target.stopNode(first);
      await pause(downMs);
      break;
    case 'stop-all':
      await Promise.all(NODES.map((node) => target.stopNode(node)));
      for (const node of others) target.launch(node);
      break;
  }
  await target.restart(first);
  // A second directory emptied before the first is full again would be a majority lost.
  if (fault === 'wipe') await workload.refilled(target.names[first], REFILL_MS_MAX);
}

/** Makes every node lead in turn, so that all copies are asked. */
async function verifyOnEach(target: Target, workload: Workload): Promise<void> {
  const led = new Set<string>();
  const deadline = performance.now() + LEAD_MS_MAX;
  const jsm = await workload.manager();
  while (led.size < NODES.length && performance.now() < deadline) {
    const leader = (await jsm.streams.info(STREAMS.log)).cluster?.leader ?? '';
    if (leader !== '' && !led.has(leader)) {
      await workload.verify(`${STREAMS.log} led by ${leader}`);
      led.add(leader);
    }
    const next = target.names.find((name) => !led.has(name));
    for (const stream of Object.values(STREAMS)) {
      const body = JSON.stringify({ placement: { preferred: next } });
      await workload.connection.request(`$JS.API.STREAM.LEADER.STEPDOWN.${stream}`, body, { timeout: 5000 });
    }
    await pause(700);
  }
  say(`verified with each of ${[...led].join(', ')} as leader`);
}

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(
      `usage: npm run chaos -- [--seconds 40] [--seed 1] [--payload 200] [--faults ${FAULTS.join(',')}]\n`,
    );
    return 0;
  }
  const faults = values.faults.split(',') as Fault[];
  const unknown = faults.filter((fault) => !FAULTS.includes(fault));
  if (unknown.length > 0) throw new Error(`no such fault: ${unknown.join(', ')}`);
  const chance = chanceOf(Number(values.seed));
  const target = new Target('flotilla');
  const workload = new Workload(target.urls, Number(values.payload));
  try {
    await target.start(3);
    say('three nodes serve');
    await workload.start();
    const deadline = performance.now() + Number(values.seconds) * 1000;
    while (performance.now() < deadline) {
      await pause(500 + chance(2000));
      const before = workload.acked.size;
      await inflict(target, workload, faults[chance(faults.length)], chance);
      say(`all serve; ${workload.acked.size - before} acknowledged meanwhile, ${workload.problems.length} problems`);
    }
    await workload.stopPublishing();
    await pause(DRAIN_MS);
    await workload.stopWorking();
    await verifyOnEach(target, workload);
    say(
      `${workload.acked.size} publishes, ${workload.workAcked.size} of the work queue, ${workload.casWrites} compare-and-sets acknowledged; ` +
        `${workload.confirmed.size} acks confirmed, ${workload.redeliveredInFlight} copies in flight at a confirmation`,
    );
    for (const problem of workload.problems.slice(0, 20)) say(`FAILED: ${problem}`);
    say(`${workload.problems.length} problems`);
    if (workload.problems.length > 0) process.stderr.write(`${target.logs()}\n`);
    await workload.close();
    return workload.problems.length === 0 ? 0 : 1;
  } catch (error) {
    process.stderr.write(`${target.logs()}\n`);
    throw error;
  } finally {
    await target.stop();
  }
}

process.exit(await main());
