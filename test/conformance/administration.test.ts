// Who leads what and who holds it, as operators ask for it: step-down of streams and of the cluster, peers and servers removed. A cluster
// of its own, with a user of the system account.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { differs } from './differences.ts';
import {
  api,
  eventually,
  generations,
  type Json,
  ok,
  openAt,
  type Requester,
  refusal,
  type Session,
  stream,
  unique,
} from './harness.ts';
import { Target, targetKind } from './target.ts';

const dir = mkdtempSync(join(tmpdir(), 'administration-'));
const file = join(dir, 'system.conf');
writeFileSync(file, 'accounts { $SYS { users = [ { user: admin, password: secret } ] } }\n');
const target = new Target(targetKind(), ['-c', file]);
let s: Session;
let admin: Requester;

beforeAll(async () => {
  await target.start(3);
  s = await openAt(generations[1], target.urls[0]);
  admin = { nc: await connect({ servers: target.urls[1], user: 'admin', pass: 'secret' }) };
});

afterAll(async () => {
  await admin.nc.close();
  await target.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function leaderOf(name: string): Promise<string | undefined> {
  const answer = await api(s, `STREAM.INFO.${name}`).catch(() => undefined);
  return (answer?.['cluster'] as Json | undefined)?.['leader'] as string | undefined;
}

async function metaLeader(): Promise<string | undefined> {
  const answer = (await (await fetch(`${target.monitorUrls[0]}/jsz`)).json()) as Json;
  return (answer['meta_cluster'] as Json | undefined)?.['leader'] as string | undefined;
}

const preferred = (name: string) => ({ placement: { preferred: name } });

describe('step-down of a stream', () => {
  test.skipIf(differs('step-down-arrives'))(
    'to a named server, from every node, and it stays there',
    async () => {
      const name = await stream(s);
      for (const to of target.names) {
        await eventually(async () => (await leaderOf(name)) !== undefined);
        if ((await leaderOf(name)) === to) {
          expect(await refusal(s, `STREAM.LEADER.STEPDOWN.${name}`, preferred(to))).toEqual([
            400,
            10005,
            `preferred server "${to}" is already leader`,
          ]);
          continue;
        }
        expect(await ok(s, `STREAM.LEADER.STEPDOWN.${name}`, preferred(to))).toEqual({
          type: 'io.nats.jetstream.api.v1.stream_leader_stepdown_response',
          success: true,
        });
        await eventually(async () => (await leaderOf(name)) === to);
      }
      const before = await leaderOf(name);
      expect(await ok(s, `STREAM.LEADER.STEPDOWN.${name}`, {})).toMatchObject({ success: true });
      const after = await eventually(async () => {
        const leader = await leaderOf(name);
        return leader !== undefined && leader !== before ? leader : undefined;
      });
      // Longer than leaders take to go back to where they are wanted.
      await new Promise((go) => setTimeout(go, 8000));
      expect(await leaderOf(name)).toBe(after);
    },
    60_000,
  );

  test.each<[string, unknown, unknown[]]>([
    ['unknown server', preferred('nobody'), [400, 10005, 'preferred server "nobody" not known']],
    ['tags that nobody has', { placement: { tags: ['x'] } }, [400, 10005, 'no replacement peer connected']],
    ['another cluster', { placement: { cluster: 'nope' } }, [400, 10005, 'no replacement peer connected']],
    ['an unknown field', { foo: 1 }, [400, 10025, 'invalid JSON: json: unknown field "foo"']],
  ])('%s', async (_, body, error) => {
    const name = await stream(s);
    expect(await refusal(s, `STREAM.LEADER.STEPDOWN.${name}`, body)).toEqual(error);
  });

  test('of nothing', async () => {
    const name = await stream(s);
    const missing = unique();
    expect(await refusal(s, `STREAM.LEADER.STEPDOWN.${missing}`)).toEqual([404, 10059, 'stream not found']);
    expect(await refusal(s, `CONSUMER.LEADER.STEPDOWN.${name}.C`)).toEqual([404, 10014, 'consumer not found']);
  });
});

describe('placement', () => {
  test.each<[string, object, unknown[]]>([
    [
      'tags that nobody has',
      { tags: ['a', 'b'] },
      [400, 10005, "no suitable peers for placement, tags not matched ['a']"],
    ],
    ['another cluster', { cluster: 'nope' }, [400, 10005, 'no suitable peers for placement']],
  ])('%s is refused, in create and update', async (_, placement, error) => {
    const name = unique();
    expect(await refusal(s, `STREAM.CREATE.${name}`, { name, placement })).toEqual(error);
    await stream(s, { name });
    const config = { name, subjects: [`${name}.>`], num_replicas: 3, placement };
    expect(await refusal(s, `STREAM.UPDATE.${name}`, config)).toEqual(error);
  });

  test('this cluster is fine, and shown', async () => {
    const name = await stream(s, { placement: { cluster: target.clusterName } });
    const { config } = await ok(s, `STREAM.INFO.${name}`);
    expect(config).toMatchObject({ placement: { cluster: target.clusterName } });
  });

  test('more replicas than nodes', async () => {
    const name = unique();
    const error = [400, 10005, 'no suitable peers for placement'];
    expect(await refusal(s, `STREAM.CREATE.${name}`, { name, num_replicas: 5 })).toEqual(error);
    await stream(s, { name });
    const config = { name, subjects: [`${name}.>`], num_replicas: 5 };
    expect(await refusal(s, `STREAM.UPDATE.${name}`, config)).toEqual(error);
  });
});

describe('peers', () => {
  test.each<[string, unknown, unknown[]]>([
    ['none named', '', [400, 10003, 'bad request']],
    ['an empty name', {}, [400, 10003, 'bad request']],
    ['one that is not a member', { peer: 'nobody' }, [400, 10040, 'peer not a member']],
    ['an unknown field', { x: 1 }, [400, 10025, 'invalid JSON: json: unknown field "x"']],
    ['one whose place nobody can take', { peer: 'node1' }, [503, 10075, 'peer remap failed']],
  ])('removing %s', async (_, body, error) => {
    const name = await stream(s);
    expect(await refusal(s, `STREAM.PEER.REMOVE.${name}`, body)).toEqual(error);
  });
});

describe('the cluster', () => {
  test.skipIf(differs('step-down-arrives'))(
    'its leader steps down for the system account, to a named server',
    async () => {
      for (const to of target.names) {
        const leader = await eventually(() => metaLeader());
        if (leader === to) {
          expect(await refusal(admin, 'META.LEADER.STEPDOWN', preferred(to))).toEqual([
            400,
            10005,
            `preferred server "${to}" is already leader`,
          ]);
          continue;
        }
        expect(await ok(admin, 'META.LEADER.STEPDOWN', preferred(to))).toEqual({
          type: 'io.nats.jetstream.api.v1.meta_leader_stepdown_response',
          success: true,
        });
        await eventually(async () => (await metaLeader()) === to);
      }
      expect(await refusal(admin, 'META.LEADER.STEPDOWN', preferred('nobody'))).toEqual([
        400,
        10005,
        'preferred server "nobody" not known',
      ]);
      expect(await refusal(admin, 'META.LEADER.STEPDOWN', { x: 1 })).toEqual([
        400,
        10025,
        'invalid JSON: json: unknown field "x"',
      ]);
    },
  );

  test.each<[string, unknown, unknown[]]>([
    ['none', '', [400, 10003, 'bad request']],
    ['nobody', {}, [400, 10003, 'bad request']],
    ['one that is not there', { peer: 'nobody' }, [400, 10044, 'server is not a member of the cluster']],
    ['by an id that is not there', { peer_id: 'nobody' }, [400, 10044, 'server is not a member of the cluster']],
    ['an unknown field', { x: 1 }, [400, 10025, 'invalid JSON: json: unknown field "x"']],
  ])('removing %s', async (_, body, error) => {
    expect(await refusal(admin, 'SERVER.REMOVE', body)).toEqual(error);
  });

  test.skipIf(differs('unknown-operation'))('is not for other accounts', async () => {
    expect(await refusal(s, 'META.LEADER.STEPDOWN')).toEqual([400, 10003, 'bad request']);
    expect(await refusal(s, 'SERVER.REMOVE', { peer: 'node3' })).toEqual([400, 10003, 'bad request']);
  });

  test.skipIf(differs('remove-running-server'))('a server that is up is not removed', async () => {
    expect(await refusal(admin, 'SERVER.REMOVE', { peer: 'node3' })).toEqual([
      400,
      10003,
      'server is up: only one that is down can be removed',
    ]);
  });

  test('a server that is gone is removed; its replicas go, and the stream serves', async () => {
    const name = await stream(s);
    await s.js.publish(`${name}.a`, 'x');
    await target.kill(2);
    await eventually(
      async () => ((await api(admin, 'SERVER.REMOVE', { peer: 'node3' }))['success'] ? 1 : undefined),
      20_000,
    );
    await eventually(async () => {
      const answer = await api(s, `STREAM.INFO.${name}`);
      const cluster = answer['cluster'] as Json | undefined;
      const replicas = (cluster?.['replicas'] ?? []) as Json[];
      return !JSON.stringify(cluster).includes('node3') && replicas.length === 1;
    }, 30_000);
    expect((await s.js.publish(`${name}.a`, 'y')).seq).toBe(2);
  }, 90_000);
});
