// Every expectation on which Flotilla and nats-server legitimately differ, with the reason. Tests ask `differs(id)`;
// whatever is not listed here must be equal.

import { against } from './harness.ts';

const DIFFERENT = {
  'queue-local-first':
    'Flotilla gives a queue message to a member on the publisher’s node when there is one; nats-server spreads it over the routes of a cluster by weight.',
  'consumer-interest-spreads':
    'A pull right after the create was answered, through another node: nats-server may still say 503 there, Flotilla finds the consumer.',
  'lagging-consumer':
    'A consumer created right after an acknowledged publish may start on a replica of nats-server that has not applied it; Flotilla starts it at the leader.',
  'unknown-operation':
    'Flotilla answers an unknown $JS.API subject with 10003; nats-server lets the request run into its timeout.',
  'delete-beyond-last':
    'Deleting a sequence outside the stream: Flotilla says 10043 as for any missing one; nats-server says 10057, "no message found" below the first and "stream store EOF" beyond the last.',
  'direct-get-consistent':
    'A direct get through Flotilla sees every write acknowledged before it, through any node; a replica of nats-server answers for itself.',
  'wire-details':
    'A CONNECT without arguments is told what is wrong; sizes are written as numbers. Rows in wire-rows.test.ts.',
  partitions: 'Streams of several partitions are Flotilla’s own.',
  'step-down-arrives':
    'A step-down to a named server: with Flotilla that server leads soon after, and goes on leading; with nats-server another one may.',
  'listing-outlives-leader':
    'A key-value listing under way when the leader is killed goes on at the next one; with nats-server it ends in the client’s timeout or begins anew after missed heartbeats.',
  'consuming-outlives-leader':
    'Who consumes through another node when the leader is killed gets the next message at once; with nats-server when the client has missed two heartbeats.',
  'waiting-outlives-hand-over':
    'Who waits at a leader that hands over asks the next one at once; with nats-server the JavaScript clients wait until two heartbeats are missed.',
  'remove-running-server':
    'SERVER.REMOVE of a server that is up: Flotilla refuses, since what it holds alone would be given up; nats-server removes it.',
  'minority-refuses':
    'A node without a majority: Flotilla answers every request within 3 s, with 503 or 10008; nats-server lets some run into the client’s timeout.',
} as const;

/** True when the suite runs against nats-server and that behaves as described in the table. */
export function differs(_id: keyof typeof DIFFERENT): boolean {
  return against === 'nats-server';
}
