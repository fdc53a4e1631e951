// Request and reply on a Transport; pure of sockets, the same code in the simulator. Used by host, meta and jetstream. Invariants: `done`
// runs exactly once; an id is never used twice in a process's life, so a late or repeated reply fits nothing; nothing
// is re-sent: after 'link-lost' or 'timeout' the outcome is unknown and the caller decides.

import type { Env, Timer } from '../../src/kit/env.ts';
import type { PeerId } from '../core/types.ts';
import { readU32, writeU32 } from './codec.ts';
import { frames } from './frames.generated.js';
import { Channel, type Rpc, type RpcReply, type Transport } from './types.ts';

/** Requests that wait for an answer of one peer; more are refused as if there were no link. */
const PENDING_MAX = 10_000;

type Handler = (from: PeerId, bytes: Uint8Array, reply: (bytes: Uint8Array) => void) => void;

interface Pending {
  to: PeerId;
  timer: Timer;
  done: (reply: RpcReply) => void;
}

const NO_BYTES = new Uint8Array(0);

/** `channel`: transfer for bulk data that must not get into the way of requests. */
export function createRpc(env: Env, transport: Transport, channel: Channel = Channel.rpc): Rpc {
  const handlers = new Map<string, Handler>();
  const pending = new Map<number, Pending>();
  const pendingPerPeer = new Map<PeerId, number>();
  // Begins at random: an answer to an earlier life of this process fits nothing.
  let nextId = env.random.uint32() * 2 ** 20 + 1;

  function settle(id: number, reply: RpcReply): void {
    const request = pending.get(id);
    if (request === undefined) return;
    pending.delete(id);
    pendingPerPeer.set(request.to, pendingPerPeer.get(request.to)! - 1);
    env.clock.cancel(request.timer);
    request.done(reply);
  }

  function serve(from: PeerId, id: number, method: string, bytes: Uint8Array): void {
    const handler = handlers.get(method);
    if (handler === undefined) {
      transport.send(from, channel, encode({ id, refused: true }, NO_BYTES));
      return;
    }
    let replied = false;
    handler(from, bytes, (answer) => {
      if (replied) throw new Error(`rpc ${method}: replied twice`);
      replied = true;
      // When the link is gone the asker knows already.
      transport.send(from, channel, encode({ id }, answer));
    });
  }

  function serveSelf(method: string, bytes: Uint8Array, timeoutMs: number, done: (reply: RpcReply) => void): void {
    let settled = false;
    const finish = (reply: RpcReply) => {
      if (settled) return;
      settled = true;
      env.clock.cancel(timer);
      done(reply);
    };
    const timer = env.clock.after(timeoutMs, () => finish({ ok: false, reason: 'timeout' }));
    env.clock.endOfTurn(() => {
      const handler = handlers.get(method);
      if (handler === undefined) finish({ ok: false, reason: 'refused' });
      else handler(transport.self.id, bytes, (answer) => finish({ ok: true, bytes: answer }));
    });
  }

  transport.onMessage(channel, (from, payload) => {
    const message = decode(payload);
    if (message === undefined) {
      env.log.warn('malformed rpc message ignored', { peer: from });
      return;
    }
    const { header, bytes } = message;
    const id = header.id ?? 0;
    if (header.method) serve(from, id, header.method, bytes);
    else if (pending.get(id)?.to === from) {
      settle(id, header.refused ? { ok: false, reason: 'refused' } : { ok: true, bytes });
    }
  });

  transport.onPeerDown((peer) => {
    const lost = [...pending].filter(([, request]) => request.to === peer);
    for (const [id] of lost) settle(id, { ok: false, reason: 'link-lost' });
    pendingPerPeer.delete(peer);
  });

  return {
    request(to, method, bytes, timeoutMs, done) {
      if (to === transport.self.id) {
        serveSelf(method, bytes, timeoutMs, done);
        return;
      }
      const id = nextId++;
      const waiting = pendingPerPeer.get(to) ?? 0;
      if (waiting >= PENDING_MAX || !transport.send(to, channel, encode({ id, method }, bytes))) {
        env.clock.endOfTurn(() => done({ ok: false, reason: 'no-link' }));
        return;
      }
      pendingPerPeer.set(to, waiting + 1);
      const timer = env.clock.after(timeoutMs, () => settle(id, { ok: false, reason: 'timeout' }));
      pending.set(id, { to, timer, done });
    },
    handle(method, handler) {
      if (handlers.has(method)) throw new Error(`rpc ${method}: handled twice`);
      handlers.set(method, handler);
    },
  };
}

function encode(header: frames.RpcHeader.$Properties, bytes: Uint8Array): Uint8Array[] {
  const encoded = frames.RpcHeader.encode(header).finish();
  const prefix = new Uint8Array(4);
  writeU32(prefix, 0, encoded.length);
  return [prefix, encoded, bytes];
}

function decode(payload: Uint8Array): { header: frames.RpcHeader.$Properties; bytes: Uint8Array } | undefined {
  if (payload.length < 4) return undefined;
  const end = 4 + readU32(payload, 0);
  if (end > payload.length) return undefined;
  try {
    return { header: frames.RpcHeader.decode(payload.subarray(4, end)), bytes: payload.subarray(end) };
  } catch {
    // protobufjs reports malformed input by throwing; nothing else is called here.
    return undefined;
  }
}
