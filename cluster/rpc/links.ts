// Transport over TCP: one link per peer, whichever end dialed. The composition root creates it; everything above sees only Transport.
// A turn's messages to one peer leave as one frame in one write, the important channels first. Invariants: at most one
// link per peer, chosen by the end with the smaller id; order is kept within a channel for the life of a link; what is queued is
// bounded; a peer is down at once when its connection ends, and after 2 s of silence; nobody else is harmed by a peer that misbehaves.
import type { Env } from '../../src/kit/env.ts';
import { type Listener, type Net, parseHostPort, type Socket } from '../../src/kit/net.ts';
import type { PeerId } from '../core/types.ts';
import { encodeFrame, type FrameHeader, splitData } from './codec.ts';
import { Connection, type ConnectionCounts, type ConnectionOwner } from './connection.ts';
import { Dialer } from './dialer.ts';
import { type Hello, NONCE_BYTES, peerInfoOf } from './handshake.ts';
import { LinkQueue } from './link-queue.ts';
import { RefusalLog } from './refusal-log.ts';
import { type Channel, Channel as Channels, type NodeHeartbeat, type PeerInfo, type Transport } from './types.ts';

const HEARTBEAT_MS = 150;
const SILENT_MS = 2_000;
/** A link that was heard within this time is alive: another connection to the same node is refused. */
const ALIVE_MS = 400;
const STALL_MS = 100;
/** Of other ends; more push out the oldest. */
const HANDSHAKES_MAX = 128;
const BULK_DIAL_MS = 2_000;
const BULK_STUCK_MS = 5_000;
const BULK_REDIAL_MS = 1_000;

export interface LinksOptions {
  env: Env;
  net: Net;
  hmac: (key: string, text: string) => Uint8Array;
  /** `clusterUrl` with port 0 is completed by `listen`. */
  self: PeerInfo;
  listen: { host: string; port: number };
  /** Addresses to dial. */
  routes: readonly string[];
  clusterName: string;
  /** '' until the cluster is formed. */
  clusterId: string;
  /** '' only when all nodes are on this machine. */
  secret: string;
  formatVersion: number;
  /** Random per process start. */
  bootId: number;
  /** Tell and dial addresses that were learnt from others (default true). */
  gossip?: boolean;
  /** A proved peer is in a formed cluster and this node is not yet. */
  onClusterId?: (clusterId: string, from: PeerInfo) => void;
}

export interface LinkStats {
  /** Bytes of all connections to and from other nodes, as the sockets took and gave them. */
  bytesIn: number;
  bytesOut: number;
  framesIn: number;
  framesOut: number;
  refused: number;
  linksUp: number;
  linksDown: number;
  sendsRefused: number;
}

/** A connection that carries a link, or bulk data beside it. */
export interface LinkConnection extends ConnectionCounts {
  peer: PeerInfo;
  /** Incarnation of the process behind the peer. */
  peerBootId: number;
  bulk: boolean;
  /** This end dialed; `configured`: at an address that a route names. */
  dialed: boolean;
  configured: boolean;
  remoteAddress: string;
  upUs: number;
  heardUs: number;
  /** Queued here and in the socket. */
  waitingBytes: number;
}

export interface Links extends Transport {
  readonly stats: LinkStats;
  connections(): LinkConnection[];
  /** The port that `listen` got. */
  readonly port: number;
  /** Nodes that the configured routes name, this one included. Too high until a route to itself has been recognised. */
  readonly expectedNodes: number;
  /** Binds, then dials. `error`: the address cannot be bound. */
  listen(done: (error: Error | null) => void): void;
  addRoute(address: string): void;
  setClusterId(clusterId: string): void;
  /** Incarnation of the process behind a peer; 0 when there is no link. */
  bootIdOf(peer: PeerId): number;
  close(done: () => void): void;
}

interface Lane {
  connection: Connection;
  queue: LinkQueue;
  dirty: boolean;
  /** When what waits to leave last became less. */
  movedMs: number;
  waitingBytes: number;
}

interface Link {
  info: PeerInfo;
  main: Lane;
  /** Snapshot transfer and repair, so that they never stand before heartbeats. Until it is up they take the main connection. */
  bulk: Lane | undefined;
}

function laneOf(connection: Connection): Lane {
  return { connection, queue: new LinkQueue(), dirty: false, movedMs: 0, waitingBytes: 0 };
}

export function createLinks(options: LinksOptions): Links {
  return new TcpLinks(options);
}

class TcpLinks implements Links, ConnectionOwner {
  readonly env: Env;
  readonly self: PeerInfo;
  readonly secret: string;
  readonly stats: LinkStats = {
    bytesIn: 0,
    bytesOut: 0,
    framesIn: 0,
    framesOut: 0,
    refused: 0,
    linksUp: 0,
    linksDown: 0,
    sendsRefused: 0,
  };
  private readonly options: LinksOptions;
  private readonly gossip: boolean;
  private readonly dialer: Dialer;
  private readonly links = new Map<PeerId, Link>();
  private readonly shaking = new Set<Connection>();
  /** Connections that this end dialed for the bulk data of a link. */
  private readonly bulkDials = new Map<Connection, Link>();
  private readonly heardMs = new Map<PeerId, number>();
  private readonly handlers: ((from: PeerId, bytes: Uint8Array) => void)[] = [];
  private readonly upHandlers: ((peer: PeerInfo) => void)[] = [];
  private readonly downHandlers: ((peer: PeerId) => void)[] = [];
  private readonly heartbeatHandlers: ((from: PeerId, heartbeat: NodeHeartbeat) => void)[] = [];
  private readonly refusals = new RefusalLog();
  private heartbeatSource: ((peer: PeerId) => NodeHeartbeat) | undefined;
  private clusterId: string;
  private listener: Listener | undefined;
  private dirty: Lane[] = [];
  private flushQueued = false;
  private beatDueMs = 0;
  private shut = false;

  constructor(options: LinksOptions) {
    this.options = options;
    this.env = options.env;
    this.self = options.self;
    this.secret = options.secret;
    this.gossip = options.gossip ?? true;
    this.clusterId = options.clusterId;
    this.dialer = new Dialer(options.env, options.net, {
      isUp: (peer) => this.links.has(peer),
      onSocket: (socket, address) => this.adopt(socket, address),
    });
  }

  // ---- Transport

  fullness(to: PeerId, channel: Channel): number {
    const lane = this.laneOf(to, channel);
    return lane?.queue.fullness(channel, lane.connection.socket.bufferedBytes) ?? 0;
  }

  private laneOf(to: PeerId, channel: Channel): Lane | undefined {
    const link = this.links.get(to);
    return channel === Channels.transfer ? (link?.bulk ?? link?.main) : link?.main;
  }

  send(to: PeerId, channel: Channel, parts: readonly Uint8Array[]): boolean {
    const lane = this.laneOf(to, channel);
    if (lane?.queue.push(channel, parts, lane.connection.socket.bufferedBytes) !== true) {
      this.stats.sendsRefused++;
      return false;
    }
    lane.connection.counts.messagesOut++;
    this.markDirty(lane);
    return true;
  }

  flush(): void {
    if (this.dirty.length === 0) return;
    const lanes = this.dirty;
    this.dirty = [];
    for (const lane of lanes) {
      lane.dirty = false;
      if (lane.connection.state === 'up') this.write(lane, undefined);
    }
  }

  onMessage(channel: Channel, handler: (from: PeerId, bytes: Uint8Array) => void): void {
    if (this.handlers[channel] !== undefined) throw new Error(`channel ${channel} has a handler already`);
    this.handlers[channel] = handler;
  }

  onPeerUp(handler: (peer: PeerInfo) => void): void {
    this.upHandlers.push(handler);
  }

  onPeerDown(handler: (peer: PeerId) => void): void {
    this.downHandlers.push(handler);
  }

  onHeartbeat(handler: (from: PeerId, heartbeat: NodeHeartbeat) => void): void {
    this.heartbeatHandlers.push(handler);
  }

  setHeartbeatSource(source: (peer: PeerId) => NodeHeartbeat): void {
    this.heartbeatSource = source;
  }

  peers(): PeerInfo[] {
    return [...this.links.values()].map((link) => link.info);
  }

  connections(): LinkConnection[] {
    const list: LinkConnection[] = [];
    for (const { info, main, bulk } of this.links.values()) {
      for (const lane of bulk === undefined ? [main] : [main, bulk]) {
        const { connection, queue } = lane;
        const { socket, upUs, heardUs, counts } = connection;
        list.push({
          peer: info,
          peerBootId: main.connection.peer?.bootId ?? 0,
          bulk: lane === bulk,
          // Whoever dialed the link dials what is beside it.
          dialed: main.connection.dialed !== '',
          configured: this.dialer.isConfigured(info.id),
          remoteAddress: socket.remoteAddress,
          upUs,
          heardUs,
          waitingBytes: queue.bytes + socket.bufferedBytes,
          ...counts,
        });
      }
    }
    return list;
  }

  isUp(peer: PeerId): boolean {
    return this.links.has(peer);
  }

  lastHeardMs(peer: PeerId): number {
    return this.heardMs.get(peer) ?? Number.NEGATIVE_INFINITY;
  }

  // ---- life

  get port(): number {
    return this.listener?.port ?? 0;
  }

  get expectedNodes(): number {
    return this.dialer.configuredOthers() + 1;
  }

  listen(done: (error: Error | null) => void): void {
    const { host, port } = this.options.listen;
    this.options.net.listen(
      host,
      port,
      (socket) => this.adopt(socket, ''),
      (error, listener) => {
        if (listener === null) {
          done(error);
          return;
        }
        this.listener = listener;
        const own = parseHostPort(this.self.clusterUrl);
        if (own?.port === 0) this.self.clusterUrl = `${own.host}:${listener.port}`;
        this.beatDueMs = this.env.clock.nowMs();
        this.beat();
        for (const route of this.options.routes) this.addRoute(route);
        done(null);
      },
    );
  }

  addRoute(address: string): void {
    if (!this.dialer.add(address, true, 0)) this.env.log.error(`route "${address}" is not host:port`);
  }

  setClusterId(clusterId: string): void {
    this.clusterId = clusterId;
  }

  bootIdOf(peer: PeerId): number {
    return this.links.get(peer)?.main.connection.peer?.bootId ?? 0;
  }

  close(done: () => void): void {
    this.flush();
    this.shut = true;
    this.dialer.close();
    for (const connection of this.shaking) connection.close('');
    for (const link of [...this.links.values()]) link.main.connection.end();
    if (this.listener === undefined) done();
    else this.listener.close(done);
  }

  // ---- ConnectionOwner

  hmac(key: string, text: string): Uint8Array {
    return this.options.hmac(key, text);
  }

  choose(connection: Connection): string | undefined {
    const { id, name, bootId } = connection.peer!;
    for (const other of this.shaking) {
      if (other === connection || other.bulk !== connection.bulk) continue;
      if (other.state !== 'welcomed' || other.peer!.id !== id) continue;
      return `another connection to node ${name} is being set up`;
    }
    const link = this.links.get(id);
    if (connection.bulk) {
      return this.bootIdOf(id) === bootId ? undefined : `there is no link to node ${name} yet`;
    }
    if (link === undefined) return undefined;
    const silentMs = this.env.clock.nowMs() - this.lastHeardMs(id);
    return silentMs < ALIVE_MS ? `there is a link to node ${name} already` : undefined;
  }

  up(connection: Connection): void {
    this.shaking.delete(connection);
    if (connection.bulk) {
      this.bulkUp(connection);
      return;
    }
    const info = peerInfoOf(connection.peer!);
    this.links.get(info.id)?.main.connection.close('replaced by a new connection');
    this.dialer.reached(connection.dialed, info.id);
    const link: Link = { info, main: laneOf(connection), bulk: undefined };
    this.links.set(info.id, link);
    this.heardMs.set(info.id, this.env.clock.nowMs());
    this.stats.linksUp++;
    this.env.log.info(`link to node ${info.name} is up`, { peer: info.id, address: connection.socket.remoteAddress });
    const theirCluster = connection.peer!.clusterId;
    if (this.clusterId === '' && theirCluster !== '') this.options.onClusterId?.(theirCluster, info);
    if (this.gossip) {
      this.dialer.add(info.clusterUrl, false, info.id);
      this.tellPeers();
    }
    this.sendHeartbeat(link);
    for (const handler of this.upHandlers) handler(info);
    this.dialBulk(link);
  }

  private bulkUp(connection: Connection): void {
    const link = this.links.get(connection.peer!.id);
    if (link === undefined) {
      connection.close('');
      return;
    }
    link.bulk?.connection.close('');
    link.bulk = laneOf(connection);
  }

  /** Whoever dialed the link dials the connection for bulk data as well, at the same address. */
  private dialBulk(link: Link): void {
    const { dialed } = link.main.connection;
    const where = parseHostPort(dialed);
    if (where === undefined || this.shut || this.links.get(link.info.id) !== link || link.bulk !== undefined) return;
    this.options.net.dial(where.host, where.port, BULK_DIAL_MS, (_error, socket) => {
      if (socket === null) this.env.clock.after(BULK_REDIAL_MS, () => this.dialBulk(link));
      else this.adopt(socket, '', link);
    });
  }

  frame(connection: Connection, header: FrameHeader, body: Uint8Array): void {
    const from = connection.peer!.id;
    this.stats.framesIn++;
    if (header.data) {
      const whole = splitData(header.data, body, (channel, bytes) => {
        connection.counts.messagesIn++;
        // A channel that this version does not know, or that nobody serves yet.
        if (connection.state === 'up') this.handlers[channel]?.(from, bytes);
      });
      if (!whole) connection.close('lengths of a data frame do not fit');
    } else if (header.heartbeat) {
      const { bootId, wallUs, clusterUs, durable, durableSeen, seenBootId, seenBefore, diskLow } = header.heartbeat;
      const heartbeat: NodeHeartbeat = {
        bootId: bootId ?? 0,
        wallUs: wallUs ?? 0,
        clusterUs: clusterUs ?? 0,
        durable: durable ?? 0,
        durableSeen: durableSeen ?? 0,
        seenBootId: seenBootId ?? 0,
        seenBefore: seenBefore ?? 0,
        diskLow: diskLow ?? false,
      };
      for (const handler of this.heartbeatHandlers) handler(from, heartbeat);
    } else if (header.gossip && this.gossip) {
      const ids = header.gossip.id ?? [];
      const urls = header.gossip.clusterUrl ?? [];
      for (let i = 0; i < Math.min(ids.length, urls.length); i++) {
        if (ids[i] !== this.self.id) this.dialer.add(urls[i], false, ids[i]);
      }
    }
  }

  heard(connection: Connection): void {
    if (connection.state === 'up' && !connection.bulk) this.heardMs.set(connection.peer!.id, this.env.clock.nowMs());
  }

  writable(connection: Connection): void {
    const link = this.links.get(connection.peer!.id);
    const lane = connection.bulk ? link?.bulk : link?.main;
    if (lane?.connection === connection && lane.queue.bytes > 0) this.markDirty(lane);
  }

  closed(connection: Connection, fault: string): void {
    this.shaking.delete(connection);
    if (connection.dialed !== '') this.dialer.lost(connection.dialed, connection.peer?.id ?? 0, connection.isSelf);
    const peer = connection.peer;
    const link = peer === undefined ? undefined : this.links.get(peer.id);
    const dialedBulk = this.bulkDials.get(connection);
    this.bulkDials.delete(connection);
    if (dialedBulk !== undefined) this.env.clock.after(BULK_REDIAL_MS, () => this.dialBulk(dialedBulk));
    if (link !== undefined && link.bulk?.connection === connection) {
      link.bulk = undefined;
      return;
    }
    if (peer !== undefined && link?.main.connection === connection) {
      this.links.delete(peer.id);
      link.bulk?.connection.close('');
      this.stats.linksDown++;
      if (!this.shut) this.env.log.warn(`link to node ${peer.name} is down: ${fault}`, { peer: peer.id });
      this.dialer.peerDown(peer.id);
      for (const handler of this.downHandlers) handler(peer.id);
      return;
    }
    if (fault !== '' && !this.shut) this.logRefusal(connection, fault);
  }

  // ---- inside

  /** `bulkOf`: dialed for the bulk data of that link. */
  private adopt(socket: Socket, dialed: string, bulkOf?: Link): void {
    const isFull = dialed === '' && this.shaking.size >= HANDSHAKES_MAX && !this.makeRoom();
    if (this.shut || isFull) {
      socket.onClose(() => {});
      socket.destroy();
      if (dialed !== '') this.dialer.lost(dialed, 0, false);
      return;
    }
    const connection = new Connection(this, socket, this.hello(bulkOf !== undefined), dialed);
    if (connection.state === 'closed') return;
    this.shaking.add(connection);
    if (bulkOf !== undefined) this.bulkDials.set(connection, bulkOf);
  }

  /** Ends the oldest incoming handshake: a peer needs milliseconds, so that one is no peer. False: all are our own. */
  private makeRoom(): boolean {
    for (const connection of this.shaking) {
      if (connection.dialed !== '') continue;
      connection.close('too many handshakes at once');
      return true;
    }
    return false;
  }

  private hello(bulk: boolean): Hello {
    return {
      ...this.self,
      bulk,
      format: this.options.formatVersion,
      clusterName: this.options.clusterName,
      clusterId: this.clusterId,
      bootId: this.options.bootId,
      nonce: this.env.random.bytes(NONCE_BYTES),
    };
  }

  private markDirty(lane: Lane): void {
    if (lane.dirty) return;
    lane.dirty = true;
    this.dirty.push(lane);
    if (this.flushQueued) return;
    this.flushQueued = true;
    // Twice: what others do at the end of this turn (the host's pass) leaves in the same frame.
    this.env.clock.endOfTurn(() =>
      this.env.clock.endOfTurn(() => {
        this.flushQueued = false;
        this.flush();
      }),
    );
  }

  /** One write: what the queue lets go, then `last`. */
  private write(lane: Lane, last: Uint8Array[] | undefined): void {
    const { socket } = lane.connection;
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for (;;) {
      const frame = lane.queue.nextFrame(socket.bufferedBytes + bytes);
      if (frame === undefined) break;
      for (const part of frame) {
        parts.push(part);
        bytes += part.length;
      }
      this.stats.framesOut++;
    }
    if (last !== undefined) {
      for (const part of last) {
        parts.push(part);
        bytes += part.length;
      }
    }
    if (parts.length === 0) return;
    this.stats.bytesOut += bytes;
    lane.connection.counts.bytesOut += bytes;
    socket.write(parts);
  }

  /** Every 150 ms: heartbeats to all, and who has been silent for too long? */
  private beat(): void {
    if (this.shut) return;
    const nowMs = this.env.clock.nowMs();
    const late = nowMs - this.beatDueMs > STALL_MS;
    for (const link of [...this.links.values()]) {
      // After a stall of our own what peers have sent is still unread: judge them at the next beat.
      const silentMs = nowMs - this.lastHeardMs(link.info.id);
      if (!late && silentMs > SILENT_MS) link.main.connection.close(`silent for ${Math.round(silentMs)} ms`);
      else this.sendHeartbeat(link);
      if (!late && link.bulk !== undefined) this.watchBulk(link.bulk, nowMs);
    }
    this.beatDueMs = nowMs + HEARTBEAT_MS;
    this.env.clock.after(HEARTBEAT_MS, () => this.beat());
  }

  /** It has no heartbeats: it is given up when what it should carry does not move. */
  private watchBulk(lane: Lane, nowMs: number): void {
    const waiting = lane.queue.bytes + lane.connection.socket.bufferedBytes;
    if (waiting === 0 || waiting < lane.waitingBytes || lane.waitingBytes === 0) lane.movedMs = nowMs;
    lane.waitingBytes = waiting;
    if (nowMs - lane.movedMs > BULK_STUCK_MS) lane.connection.close('nothing leaves any more');
  }

  private sendHeartbeat(link: Link): void {
    const heartbeat = this.heartbeatSource?.(link.info.id) ?? {
      bootId: this.options.bootId,
      wallUs: this.env.clock.wallUs(),
      clusterUs: 0,
      durable: 0,
      durableSeen: 0,
      seenBootId: 0,
      seenBefore: 0,
      diskLow: false,
    };
    this.write(link.main, encodeFrame({ heartbeat }, []));
  }

  private tellPeers(): void {
    const infos = [...this.links.values()].map((link) => link.info).filter((info) => info.clusterUrl !== '');
    const gossip = { id: infos.map((info) => info.id), clusterUrl: infos.map((info) => info.clusterUrl) };
    for (const link of this.links.values()) link.main.connection.write({ gossip });
  }

  private logRefusal(connection: Connection, fault: string): void {
    this.stats.refused++;
    const { remoteAddress } = connection.socket;
    // The port of an incoming connection differs each time.
    const from = connection.dialed !== '' ? connection.dialed : remoteAddress.slice(0, remoteAddress.lastIndexOf(':'));
    const line = `cluster connection ${connection.dialed !== '' ? 'to' : 'from'} ${from}: ${fault}`;
    if (this.refusals.isNews(from, line, this.env.clock.nowMs())) this.env.log.warn(line);
  }
}
