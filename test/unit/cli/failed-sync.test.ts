// A disk that fails a sync, for real: strace makes one fdatasync of a running leader answer EIO. That process ends at once and says why, the others go on
// with all that was acknowledged, and it comes back from what its disk has. Where there is no strace or processes may not be traced the test says so and does
// not run; with CI=true strace must be there.
import { type ChildProcess, spawn } from 'node:child_process';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { afterAll, expect, test } from 'vitest';
import { isRunning } from '../../conformance/child.ts';
import { Target } from '../../conformance/target.ts';

const STREAM = 'SYNCED';
const MESSAGES = 30;

const target = new Target('flotilla');
let tracer: ChildProcess | undefined;

afterAll(async () => {
  tracer?.kill('SIGKILL');
  await target.stop();
});

/** The next sync of the process fails; undefined, or the machine's words when it refuses that. */
function failNextSync(pid: number): Promise<string | undefined> {
  const inject = ['-e', 'trace=fdatasync', '-e', 'inject=fdatasync:error=EIO:when=1'];
  const child = spawn('strace', ['-f', ...inject, '-o', '/dev/null', '-p', String(pid)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  tracer = child;
  return new Promise((done, failed) => {
    let text = '';
    child.once('error', (error) => (process.env['CI'] === 'true' ? failed(error) : done(error.message)));
    child.once('close', () => done(text.trim()));
    child.stderr.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (/attached/.test(text)) done(undefined);
    });
  });
}

function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  return expect.poll(condition, { message: what, interval: 50, timeout: 60_000 }).toBe(true);
}

test('a failed sync of the leader', { timeout: 180_000 }, async (context) => {
  await target.start(3);
  const nc = await connect({ servers: target.urls[0] });
  const jsm = await jetstreamManager(nc, { timeout: 10_000 });
  const info = () => jsm.streams.info(STREAM).catch(() => undefined);
  await jsm.streams.add({ name: STREAM, subjects: ['synced'], num_replicas: 3 });
  // Another node than the client's leads.
  await nc.request(`$JS.API.STREAM.LEADER.STEPDOWN.${STREAM}`, '{"placement":{"preferred":"node2"}}');
  await until('node2 leads', async () => (await info())?.cluster?.leader === 'node2');
  const js = jetstream(nc, { timeout: 2_000 });
  const acked = new Map<string, number>();
  const publish = (msgID: string): Promise<boolean> =>
    js.publish('synced', msgID, { msgID }).then(
      ({ seq }) => acked.set(msgID, seq).size > 0,
      () => false,
    );
  for (let i = 0; i < MESSAGES; i++) await until('an ack', () => publish(`before-${i}`));

  const pid = target.pid(1) as number;
  const refusal = await failNextSync(pid);
  if (refusal !== undefined) context.skip(`strace: ${refusal}`);
  for (let i = 0; i < MESSAGES; i++) await until('an ack of the others', () => publish(`after-${i}`));
  await until('it ended', () => !isRunning(pid));
  expect(target.logs()).toMatch(/\[FTL\] wal: syncing .* failed: EIO/);

  await target.restart(1);
  await until('all have all', async () => {
    const replicas = (await info())?.cluster?.replicas ?? [];
    return replicas.length === 2 && replicas.every((one) => one.current && !one.offline && !one.lag);
  });
  expect((await info())?.state).toMatchObject({ messages: 2 * MESSAGES, last_seq: Math.max(...acked.values()) });
  for (const [id, seq] of acked) expect((await jsm.streams.getMessage(STREAM, { seq }))?.string()).toBe(id);
  await nc.close();
});
