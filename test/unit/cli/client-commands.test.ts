// `flotilla pub` against a node: what it stores, and what it says when it cannot.
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { pub, sub } from '../../../src/cli/client-commands.ts';
import { type StartedServer, startNode } from '../../../src/index.ts';

let node: StartedServer;

beforeAll(async () => {
  node = await startNode();
});

afterAll(async () => {
  await node.close();
});

/** Exit code and what a person reads. */
const run = (...args: string[]): Promise<[code: number, said: string]> => told(pub, args);

async function told(command: typeof pub, args: string[]): Promise<[code: number, said: string]> {
  let said = '';
  const hear = (text: string | Uint8Array): boolean => {
    said += String(text);
    return true;
  };
  const streams = [vi.spyOn(process.stdout, 'write'), vi.spyOn(process.stderr, 'write')];
  for (const stream of streams) stream.mockImplementation(hear);
  const code = await command([...args, '-s', node.clientUrl]);
  for (const stream of streams) stream.mockRestore();
  return [code, said];
}

test('pub creates the stream that it names, and stores in it', async () => {
  expect(await run('orders.new', 'x', '--stream', 'ORDERS', '--count', '2')).toEqual([
    0,
    'created stream ORDERS, 1 replica\nstored in ORDERS as seq 1\nstored in ORDERS as seq 2\n',
  ]);
  expect(await run('orders.old', 'x', '--stream', 'ORDERS')).toEqual([0, 'stored in ORDERS as seq 3\n']);
});

test('pub says that the stream it names does not store the subject', async () => {
  expect(await run('other', 'x', '--stream', 'ORDERS')).toEqual([
    1,
    'flotilla: stream ORDERS exists and does not store other\n',
  ]);
});

test('each command helps with its own flags, and refuses those of the other', async () => {
  const flagsOf = async (command: typeof pub): Promise<string[]> => {
    const [code, said] = await told(command, ['--help']);
    expect(code).toBe(0);
    return said.match(/(?<=^ .*)--\w+/gm) ?? [];
  };
  const common = ['--server', '--user', '--pass', '--help'];
  expect(await flagsOf(pub)).toEqual(['--stream', '--replicas', '--count', ...common]);
  expect(await flagsOf(sub)).toEqual(['--stream', '--count', ...common]);
  expect(await told(sub, ['orders.new', '--replicas', '3'])).toEqual([1, expect.stringContaining('unknown flag')]);
});
