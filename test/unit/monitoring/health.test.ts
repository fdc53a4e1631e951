// The options of /healthz, as probes use them: which of them look at what, on nodes that are well, that are not, and that have no JetStream.
import { expect, test } from 'vitest';
import { healthz } from '../../../src/monitoring/endpoints.ts';
import { FakeView } from './fake-view.ts';

class View extends FakeView {
  trouble = '';

  constructor() {
    super({ partitions: 1, consumersEach: 1 });
  }

  override unhealthy(): string {
    return this.trouble;
  }
}

const MISSING = { account: '$G', stream: 'NONE' };
const QUERIES = [
  {},
  { 'js-enabled-only': 'true' },
  { 'js-enabled': '1' },
  { 'js-server-only': 'true' },
  { 'js-meta-only': 'true' },
  MISSING,
  { ...MISSING, 'js-server-only': 'true' },
];

const statuses = (view: View): Promise<number[]> =>
  Promise.all(QUERIES.map(async (query) => (await healthz(view, query)).status));

test('what is looked at', async () => {
  const view = new View();
  expect(await statuses(view)).toEqual([200, 200, 200, 200, 200, 404, 200]);
  view.trouble = 'no leader of the cluster';
  expect(await statuses(view)).toEqual([503, 200, 200, 503, 503, 503, 503]);
  expect((await healthz(view, {})).body).toEqual({ status: 'unavailable', error: view.trouble });
});

test('a node without JetStream lacks nothing: probes that ask for it do not restart it', async () => {
  const view = new View();
  view.identity.jetstream = false;
  expect(await statuses(view)).toEqual(QUERIES.map(() => 200));
});

test('half a question is none', async () => {
  for (const query of [{ stream: 'S' }, { account: '$G', consumer: 'c' }])
    expect((await healthz(new View(), query)).status).toBe(400);
});
