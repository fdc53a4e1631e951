// The monitoring port: HTTP by fastify in front of the endpoints and metrics.ts. Called by the composition root.
import Fastify, { type FastifyInstance } from 'fastify';
import { accountz, accstatz } from './accounts.ts';
import { connz, healthz, subsz, varz } from './endpoints.ts';
import { jsz } from './jsz.ts';
import { gatewayz, leafz, routez } from './linkz.ts';
import { createMetrics } from './metrics.ts';
import { answerOf, type Endpoint, type Query } from './query.ts';
import { statusOf } from './status.ts';
import type { NodeView } from './types.ts';

const ENDPOINTS: Record<string, Endpoint> = {
  '/varz': varz,
  '/connz': connz,
  '/jsz': jsz,
  '/healthz': healthz,
  '/routez': routez,
  '/gatewayz': gatewayz,
  '/leafz': leafz,
  '/accountz': accountz,
  '/accstatz': accstatz,
  '/subsz': subsz,
  '/subscriptionsz': subsz,
};

export interface Monitoring {
  readonly port: number;
  close(): Promise<void>;
}

export interface MonitoringOptions {
  /** Series per partition metric, and per consumer metric; the rest is summed. */
  seriesMax?: number;
}

/** Rejects when the address cannot be bound. */
export async function startMonitoring(
  host: string,
  port: number,
  view: NodeView,
  options: MonitoringOptions = {},
): Promise<Monitoring> {
  const metrics = createMetrics(view, options.seriesMax);
  const requests: Record<string, number> = {};
  const app: FastifyInstance = Fastify({ logger: false, forceCloseConnections: true });
  app.addHook('onSend', async (_request, reply) => {
    reply.header('access-control-allow-origin', '*');
  });
  for (const [path, endpoint] of Object.entries(ENDPOINTS)) {
    app.get<{ Querystring: Query }>(path, async (request, reply) => {
      requests[path] = (requests[path] ?? 0) + 1;
      const { status, body } = await answerOf(endpoint, view, request.query, requests);
      reply.code(status);
      if (typeof body === 'string') return await reply.type('text/plain').send(body);
      const text = path === '/healthz' ? JSON.stringify(body) : JSON.stringify(body, undefined, 2);
      return await reply.type('application/json').send(text);
    });
  }
  app.get('/metrics', async (_request, reply) => await reply.type(metrics.contentType).send(await metrics.scrape()));
  app.get('/statusz', async (_request, reply) => {
    const text = JSON.stringify(statusOf(await metrics.sample()), undefined, 2);
    return await reply.type('application/json').send(text);
  });
  app.get('/', async (_request, reply) => {
    const links = [...Object.keys(ENDPOINTS), '/statusz', '/metrics'].map(
      (path) => `<li><a href=".${path}">${path.slice(1)}</a></li>`,
    );
    return await reply
      .type('text/html')
      .send(`<!doctype html><title>${view.identity.serverName}</title><h1>Flotilla</h1><ul>${links.join('')}</ul>`);
  });
  await app.listen({ host, port });
  const address = app.server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: async () => await app.close(),
  };
}
