// What peers may send to the meta leader: only whole requests may enter the log.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeRecord, encodeRecord, foundCluster, joinCluster } from '../../../src/meta/formation-record.ts';
import {
  decodeCommand,
  encodeCommand,
  encodeJson,
  type MetaCommand,
  parseRequest,
} from '../../../src/meta/meta-codec.ts';
import { MetaMachine } from '../../../src/meta/meta-machine.ts';
import { streamConfig } from './meta-world.ts';

describe('requests', () => {
  test('whole ones pass', () => {
    const request = { type: 'create', account: '$G', config: streamConfig('S') };
    expect(parseRequest(encodeJson(request))).toEqual(request);
    expect(parseRequest(encodeJson({ type: 'delete', account: '$G', name: 'S' }))).toBeDefined();
  });

  test('anything else does not', () => {
    for (const bad of [
      null,
      [],
      {},
      { type: 'toString' },
      { type: 'create', account: '$G' },
      { type: 'create', account: '$G', config: { name: 'S' } },
      { type: 'create', account: '$G', config: { ...streamConfig('S'), subjects: [1] } },
      { type: 'replicas', streamId: 1, partition: -1, replicas: [1] },
      { type: 'node', node: { id: 0, name: 'n' } },
    ]) {
      expect(parseRequest(encodeJson(bad))).toBeUndefined();
    }
    expect(parseRequest(new Uint8Array([255, 254]))).toBeUndefined();
    fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => void parseRequest(bytes)));
  });

  test('a request that passed can be applied, whatever stands in it', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('create', 'update', 'replicas', 'settled', 'form', 'node', 'delete'),
        fc.record({ streamId: fc.nat(3), partition: fc.nat(100), since: fc.nat(3), replicas: fc.array(fc.nat(4)) }),
        fc.anything(),
        (type, numbers, chaos) => {
          const config = { ...streamConfig('S'), max_msgs: chaos, placement: chaos, num_replicas: numbers.since };
          const value = {
            type,
            account: '$G',
            config,
            clusterId: 'c',
            nodes: [],
            node: { id: 9, name: 'x' },
            name: 'S',
          };
          let bytes: Uint8Array;
          try {
            bytes = encodeJson({ ...value, ...numbers });
          } catch {
            return; // not JSON at all
          }
          const request = parseRequest(bytes);
          if (request === undefined) return;
          const machine = new MetaMachine({ onStream: () => undefined, onNodes: () => undefined });
          const nodes = [1, 2, 3].map((id) => ({ id, name: `n${id}` }));
          machine.apply(1, encodeCommand({ type: 'form', clusterId: 'c', nodes }, 0));
          const create: MetaCommand = { type: 'create', account: '$G', config: streamConfig('S'), live: [1, 2, 3] };
          machine.apply(2, encodeCommand(create, 0));
          machine.apply(3, encodeCommand({ live: [1, 2], replaces: 0, ...request } as never, 0));
          machine.restore(new Uint8Array(Buffer.concat(machine.snapshot())));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('commands come back as they were', () => {
    const command = { type: 'settled', streamId: 7, partition: 3, since: 9 } as const;
    expect(decodeCommand(encodeCommand(command, 123.5))).toEqual({ command, stampUs: 123.5 });
  });
});

describe('formation record', () => {
  const nodes = ['d', 'a', 'f', 'c', 'e', 'b'].map((name, i) => ({ id: i + 1, name }));
  const record = foundCluster('c', nodes);

  test('founders by name: five voters, the rest learn', () => {
    expect(record.founding).toEqual({ voters: [2, 6, 4, 1, 5], learners: [3] });
  });

  test('a founder begins as decided, anybody else learns, also one that is named as a voter now', () => {
    const current = { voters: [2, 6, 77], learners: [] };
    expect(joinCluster(record, current, 6).membership).toEqual(record.founding);
    expect(joinCluster(record, current, 9).membership).toEqual({ voters: [2, 6, 77], learners: [9] });
    expect(joinCluster(record, current, 77).membership).toEqual({ voters: [2, 6], learners: [77] });
    expect(joinCluster(record, undefined, 9).membership.voters).toEqual(record.founding.voters);
  });

  test('one changed byte is seen', () => {
    const bytes = encodeRecord(record);
    expect(decodeRecord(bytes)).toEqual(record);
    for (let at = 0; at < bytes.length - 1; at += 7) {
      const damaged = bytes.slice();
      damaged[at] ^= 4;
      expect(decodeRecord(damaged)).toBeUndefined();
    }
    expect(decodeRecord(new Uint8Array(0))).toBeUndefined();
  });
});
