// Core NATS: takes a message and hands it to everyone who asked, on this node and through cluster-routes.ts on others. Used by protocol
// sessions and, for streams and the API, by the composition root. A subject's route is worked out once and kept until
// interest changes, so a hot subject costs one Map look-up.
// Invariants: each plain subscription gets a message once per match; each queue group gets it once cluster-wide, a local
// member first; sinks see what clients of this node publish and nothing else.
import type { PeerId } from '../../cluster/core/types.ts';
import type { Transport } from '../../cluster/rpc/types.ts';
import type { Env } from '../kit/env.ts';
import { Interner } from '../subjects/interner.ts';
import { RepeatCache } from '../subjects/repeat-cache.ts';
import { hasWildcard, isLiteral, isValidPattern, SubjectIndex } from '../subjects/subject.ts';
import { ClusterRoutes, type RouteOwner } from './cluster-routes.ts';
import { InboxRoutes } from './inbox-routes.ts';
import { messageBytes, type RawMessage } from './raw-message.ts';
import { RemoteInterest } from './remote-interest.ts';
import { type Entry, type Group, type Route, SinkEntry } from './route.ts';
import type { Broker, Message, Receiver, Sink, SinkHandle, Subscription } from './types.ts';

/** Half of the routes that are kept per account: as many as there are interned names. */
const ROUTES_HALF_MAX = 16_384;

const NOBODY: Route = { sinks: [], plain: [], groups: [], peers: [] };

export interface BrokerOptions {
  env: Env;
  /** Undefined: a node on its own. */
  transport: Transport | undefined;
  self: PeerId;
}

export function createBroker(options: BrokerOptions): Broker {
  return new CoreBroker(options);
}

interface Account {
  readonly name: string;
  readonly index: SubjectIndex<Entry>;
  readonly routes: RepeatCache<Route>;
  /** Of what is published, and of what is delivered to an inbox: neither pushes the other out. */
  readonly published: InboxRoutes;
  readonly inboxes: InboxRoutes;
}

class CoreBroker implements Broker, RouteOwner {
  readonly stats = {
    subscriptions: 0,
    subscribed: 0,
    routedIn: 0,
    routedOut: 0,
    routedLost: 0,
    inMsgs: 0,
    outMsgs: 0,
    inBytes: 0,
    outBytes: 0,
  };

  congestion = 0;
  readonly #env: Env;
  readonly #cluster: ClusterRoutes | undefined;
  readonly #accounts = new Map<string, Account>();
  /** The account asked for last: nearly always the next one as well. */
  #lastAccount: Account | undefined = undefined;
  #matches: Entry[] = [];
  /** xorshift32: which member of a group is chosen. */
  #chance: number;
  readonly #lostListeners: ((account: string, pattern: string) => void)[] = [];
  #lost = new Map<string, Set<string>>();

  constructor({ env, transport, self }: BrokerOptions) {
    this.#env = env;
    this.#chance = env.random.uint32() | 1;
    if (transport === undefined) this.#cluster = undefined;
    else {
      if (transport.self.id !== self) throw new Error(`transport of node ${transport.self.id} given to node ${self}`);
      this.#cluster = new ClusterRoutes(env, transport, new Interner(), this);
    }
  }

  subscribe(subscription: Subscription): void {
    const { account, subject, queue } = subscription;
    this.#insert(account, subject, subscription);
    this.stats.subscriptions++;
    this.stats.subscribed++;
    this.#cluster?.localAdded(account, subject, queue);
  }

  unsubscribe(subscription: Subscription): void {
    const { account, subject, queue } = subscription;
    if (!this.#remove(account, subject, subscription)) return;
    this.stats.subscriptions--;
    this.#cluster?.localRemoved(account, subject, queue);
    this.#interestLost(account, subject);
  }

  publish(account: string, message: Message, origin: Receiver | undefined): boolean {
    const { stats } = this;
    stats.inMsgs++;
    stats.inBytes += messageBytes(message);
    const owner = this.#account(account);
    const route = this.#route(owner, message.subject, owner.published);
    let reached = this.#dispatch(route, account, message.subject, message, origin);
    const { sinks } = route;
    if (sinks.length > 0) {
      // A sink may ask another node to answer to an inbox that was subscribed in this very turn.
      if (this.#cluster?.interestWaits) this.#cluster.flush();
      for (let i = 0; i < sinks.length; i++) sinks[i].sink(message, account, origin);
      reached = true;
    }
    return reached;
  }

  deliverTo(account: string, inbox: string, message: Message): boolean {
    return this.#dispatch(this.#inboxRoute(account, inbox), account, inbox, message, undefined);
  }

  interestOf(peer: PeerId): { account: string; subject: string; queue: string; weight: number }[] {
    return this.#cluster?.interestOf(peer) ?? [];
  }

  hasInterest(account: string, subject: string): boolean {
    const { plain, groups, peers } = this.#inboxRoute(account, subject);
    return plain.length > 0 || groups.length > 0 || peers.length > 0;
  }

  subscriptionOf(receiver: Receiver, account: string, subject: string): Subscription | undefined {
    return this.#inboxRoute(account, subject).plain.find((subscription) => subscription.receiver === receiver);
  }

  onInterestLost(changed: (account: string, pattern: string) => void): void {
    this.#lostListeners.push(changed);
  }

  addSink(account: string, subject: string, sink: Sink): SinkHandle {
    const entry = new SinkEntry(subject, sink);
    this.#insert(account, subject, entry);
    return {
      remove: () => {
        this.#remove(account, subject, entry);
      },
    };
  }

  // For cluster-routes.ts -----------------------------------------------------------------------------------------

  addRemote(interest: RemoteInterest, account: string): void {
    this.#insert(account, interest.subject, interest);
  }

  removeRemote(interest: RemoteInterest, account: string): void {
    this.#remove(account, interest.subject, interest);
    this.#interestLost(account, interest.subject);
  }

  forgetRoutes(): void {
    for (const account of this.#accounts.values()) forgetAll(account);
  }

  routedLost(messages: number): void {
    this.stats.routedLost += messages;
  }

  deliverRouted(account: string, target: string, picks: readonly string[], message: RawMessage): void {
    this.stats.routedIn++;
    const { plain, groups } = this.#inboxRoute(account, target);
    for (let i = 0; i < plain.length; i++) this.#deliver(plain[i], message);
    for (const queue of picks) {
      const group = groups.find((candidate) => candidate.queue === queue);
      const member = group === undefined ? undefined : this.#pickLocal(group, undefined);
      if (member !== undefined) this.#deliver(member, message);
    }
  }

  // Inside --------------------------------------------------------------------------------------------------------

  /** To subscribers here and elsewhere. False: there was none. */
  #dispatch(route: Route, account: string, target: string, message: Message, origin: Receiver | undefined): boolean {
    const { plain, groups, peers } = route;
    let reached = peers.length > 0;
    for (let i = 0; i < plain.length; i++) {
      const subscription = plain[i];
      if (!subscription.echo && subscription.receiver === origin) continue;
      this.#deliver(subscription, message);
      reached = true;
    }
    let picked: RemoteInterest[] | undefined;
    for (let i = 0; i < groups.length; i++) {
      const group = groups[i];
      const member = this.#pickLocal(group, origin);
      if (member !== undefined) this.#deliver(member, message);
      else if (group.remote.length > 0) (picked ??= []).push(this.#pickRemote(group.remote));
      else continue;
      reached = true;
    }
    // Last, in one go: deliveries above may publish themselves.
    if (peers.length > 0 || picked !== undefined) {
      const fullness = this.#sendToPeers(peers, picked ?? [], account, target, message);
      // What the broker's own clients ask for (an inbox answered) does not hold up whoever it was that asked.
      if (origin !== undefined && fullness > this.congestion) this.congestion = fullness;
    }
    return reached;
  }

  /** One record for each peer that has plain interest or was picked for a group. How full the fullest way is. */
  #sendToPeers(
    peers: readonly RemoteInterest[],
    picked: readonly RemoteInterest[],
    account: string,
    target: string,
    message: Message,
  ): number {
    const cluster = this.#cluster!;
    let fullness = 0;
    for (const { peer, queue } of picked) peer.picks.push(queue);
    for (const { peer } of peers) {
      fullness = Math.max(fullness, cluster.send(peer, account, target, message));
      this.stats.routedOut++;
    }
    for (const { peer } of picked) {
      // Its picks are gone when it got the message as a plain peer, or for an earlier pick.
      if (peer.picks.length === 0) continue;
      fullness = Math.max(fullness, cluster.send(peer, account, target, message));
      this.stats.routedOut++;
    }
    return fullness;
  }

  #deliver(subscription: Subscription, message: Message): void {
    const { stats } = this;
    stats.outMsgs++;
    stats.outBytes += messageBytes(message);
    subscription.receiver.deliver(subscription, message);
  }

  #pickLocal(group: Group, origin: Receiver | undefined): Subscription | undefined {
    const { local } = group;
    const count = local.length;
    if (count === 0) return undefined;
    const first = count === 1 ? 0 : this.#below(count);
    for (let i = 0; i < count; i++) {
      const member = local[(first + i) % count];
      if (member.echo || member.receiver !== origin) return member;
    }
    return undefined;
  }

  #pickRemote(remote: readonly RemoteInterest[]): RemoteInterest {
    if (remote.length === 1) return remote[0];
    let total = 0;
    for (const { weight } of remote) total += weight;
    let left = this.#below(total);
    for (const interest of remote) if ((left -= interest.weight) < 0) return interest;
    return remote[remote.length - 1];
  }

  /** Uniform in [0, bound). */
  #below(bound: number): number {
    let x = this.#chance;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#chance = x;
    return (x >>> 0) % bound;
  }

  #account(name: string): Account {
    if (this.#lastAccount?.name === name) return this.#lastAccount;
    let account = this.#accounts.get(name);
    if (account === undefined) {
      account = {
        name,
        index: new SubjectIndex<Entry>(0),
        routes: new RepeatCache<Route>(ROUTES_HALF_MAX),
        published: new InboxRoutes(),
        inboxes: new InboxRoutes(),
      };
      this.#accounts.set(name, account);
    }
    this.#lastAccount = account;
    return account;
  }

  #inboxRoute(account: string, inbox: string): Route {
    const owner = this.#account(account);
    return this.#route(owner, inbox, owner.inboxes);
  }

  #route(account: Account, subject: string, inboxes: InboxRoutes): Route {
    const { index, routes } = account;
    const known = routes.get(subject);
    if (known !== undefined) return known;
    const below = inboxes.get(subject);
    if (below !== undefined && !index.hasLiteral(subject)) return below;
    const matches = this.#matches;
    index.match(subject, matches);
    if (matches.length === 0) return NOBODY;
    const route = isValidPattern(subject) ? routeOf(matches) : NOBODY;
    matches.length = 0;
    routes.offer(subject, route);
    if (below === undefined && isLiteral(subject) && !index.hasLiteral(subject)) {
      const free = index.restIsFreeFrom(subject);
      if (free > 0) inboxes.keep(subject.slice(0, free), true, route);
      else if (index.lastTokenIsFree(subject))
        inboxes.keep(subject.slice(0, subject.lastIndexOf('.') + 1), false, route);
    }
    return route;
  }

  #insert(account: string, pattern: string, entry: Entry): void {
    const owner = this.#account(account);
    owner.index.insert(pattern, entry);
    this.#forgetRoutes(owner, pattern);
  }

  #remove(account: string, pattern: string, entry: Entry): boolean {
    const owner = this.#account(account);
    if (!owner.index.remove(pattern, entry)) return false;
    this.#forgetRoutes(owner, pattern);
    return true;
  }

  #forgetRoutes(account: Account, pattern: string): void {
    if (!hasWildcard(pattern)) {
      account.routes.delete(pattern);
      return;
    }
    forgetAll(account);
  }

  #interestLost(account: string, pattern: string): void {
    if (this.#lostListeners.length === 0) return;
    if (this.#lost.size === 0) this.#env.clock.endOfTurn(() => this.#tellLost());
    let patterns = this.#lost.get(account);
    if (patterns === undefined) this.#lost.set(account, (patterns = new Set()));
    patterns.add(pattern);
  }

  #tellLost(): void {
    const lost = this.#lost;
    this.#lost = new Map();
    for (const [account, patterns] of lost) {
      for (const pattern of patterns) for (const listener of this.#lostListeners) listener(account, pattern);
    }
  }
}

function forgetAll({ routes, published, inboxes }: Account): void {
  routes.clear();
  published.clear();
  inboxes.clear();
}

function routeOf(matches: readonly Entry[]): Route {
  const sinks: SinkEntry[] = [];
  const plain: Subscription[] = [];
  const groups: Group[] = [];
  const peers: RemoteInterest[] = [];
  for (const entry of matches) {
    if (entry instanceof RemoteInterest && !entry.peer.live) continue;
    if (entry instanceof SinkEntry) sinks.push(entry);
    else if (entry.queue === '') {
      if (!(entry instanceof RemoteInterest)) plain.push(entry);
      else if (!peers.some(({ peer }) => peer === entry.peer)) peers.push(entry);
    } else {
      let group = groups.find(({ queue }) => queue === entry.queue);
      if (group === undefined) groups.push((group = { queue: entry.queue, local: [], remote: [] }));
      if (entry instanceof RemoteInterest) group.remote.push(entry);
      else group.local.push(entry);
    }
  }
  return { sinks, plain, groups, peers };
}
