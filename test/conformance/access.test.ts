// Who may connect: user and password, token; the exact refusals. Nodes of its own, with flags.

import { afterEach, describe, expect, test } from 'vitest';
import { generations, openAt } from './harness.ts';
import { RawClient } from './raw.ts';
import { Target, targetKind } from './target.ts';

let target: Target | undefined;

afterEach(async () => {
  await target?.stop();
});

async function start(...flags: string[]): Promise<Target> {
  target = new Target(
    targetKind(),
    flags,
    flags.includes('--auth') ? { auth_token: 'secret' } : { user: 'u', pass: 'p' },
  );
  await target.start(1);
  return target;
}

async function refusedAs(port: number, options: object): Promise<string> {
  const client = await RawClient.connect(port);
  await client.until(/INFO .*\r\n/);
  client.send(`CONNECT ${JSON.stringify({ verbose: false, ...options })}\r\nPING\r\n`);
  return client.untilClosed();
}

describe.each(generations)('access, $name', (generation) => {
  test('user and password', async () => {
    const { urls } = await start('--user', 'u', '--pass', 'p');
    const session = await openAt(generation, urls[0], { user: 'u', pass: 'p' });
    expect(session.nc.info?.auth_required).toBe(true);
    for (const options of [{ user: 'u', pass: 'wrong' }, { user: 'x', pass: 'p' }, {}]) {
      await expect(openAt(generation, urls[0], options)).rejects.toThrow(/authorization violation/i);
    }
  });

  test('token', async () => {
    const { urls } = await start('--auth', 'secret');
    await openAt(generation, urls[0], { token: 'secret' });
    await expect(openAt(generation, urls[0], { token: 'wrong' })).rejects.toThrow(/authorization violation/i);
  });
});

test('the refusal closes, also for whoever speaks first without CONNECT', async () => {
  const { urls } = await start('--user', 'u', '--pass', 'p');
  const port = Number(new URL(urls[0]).port);
  expect(await refusedAs(port, { user: 'u', pass: 'no' })).toBe("-ERR 'Authorization Violation'\r\n");
  const client = await RawClient.connect(port);
  await client.until(/INFO .*\r\n/);
  client.send('SUB a 1\r\n');
  expect(await client.untilClosed()).toBe("-ERR 'Authorization Violation'\r\n");
});

test('whoever stays silent is asked to leave', async () => {
  const { urls } = await start('--user', 'u', '--pass', 'p');
  const client = await RawClient.connect(Number(new URL(urls[0]).port));
  await client.until(/INFO .*\r\n/);
  expect(await client.untilClosed(10_000)).toBe("-ERR 'Authentication Timeout'\r\n");
});
