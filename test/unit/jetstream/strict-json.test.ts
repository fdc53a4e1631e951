// The words of refusals as nats-server 2.15 gives them for the same requests.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  anything,
  decodeStrict,
  flag,
  int64,
  list,
  nanoseconds,
  object,
  oneOf,
  schema,
  text,
  textMap,
  time,
  uint64,
} from '../../../src/jetstream/strict-json.ts';

const REQUEST = schema(
  'StreamConfigRequest',
  {
    name: text,
    subjects: list(text),
    max_msgs: int64,
    max_age: nanoseconds,
    first_seq: uint64,
    sealed: flag,
    retention: oneOf(['limits', 'interest']),
    placement: object('Placement', { cluster: text }),
    metadata: textMap,
    at: time,
  },
  ['StreamConfig'],
);

const decode = (source: string) => decodeStrict(new TextEncoder().encode(source), REQUEST);

describe('accepted', () => {
  test('nothing, null and an empty object are an empty request', () => {
    for (const source of ['', 'null', '{}', ' { } ']) expect(decode(source)).toEqual({});
  });

  test('every kind of field; keys without case; null is absent; the last of two wins', () => {
    const source = `{"NAME":"a","name":"b","subjects":["x","\\u0041"],"max_msgs":-1,"first_seq":18446744073709551615,
      "sealed":true,"retention":"limits","placement":{"Cluster":"c"},"metadata":{"__proto__":"p","k":""},
      "max_age":null,"at":"2024-01-02T03:04:05.6+02:00"}`;
    expect(decode(source)).toEqual({
      name: 'b',
      subjects: ['x', 'A'],
      max_msgs: -1,
      first_seq: 2 ** 64 - 2048,
      sealed: true,
      retention: 'limits',
      placement: { cluster: 'c' },
      metadata: Object.fromEntries([
        ['__proto__', 'p'],
        ['k', ''],
      ]),
      at: '2024-01-02T03:04:05.6+02:00',
    });
  });
});

describe('numbers of 64 bit', () => {
  test('the largest means "as many as there can be", and fits the type again when it is answered', () => {
    const decoded = decode('{"max_msgs":9223372036854775807}');
    const { max_msgs } = decoded as { max_msgs: number };
    expect(max_msgs).toBe(2 ** 63 - 1024);
    expect(BigInt(JSON.stringify(max_msgs))).toBeLessThan(2n ** 63n);
    expect(decode('{"max_msgs":-9223372036854775808}')).toEqual({ max_msgs: -(2 ** 63) });
  });
});

describe('refused', () => {
  const field = 'Go struct field StreamConfigRequest.StreamConfig';
  const unfit = (number: string, key: string, type: string) =>
    `json: cannot unmarshal number ${number} into ${field}.${key} of type ${type}`;
  test.each([
    ['{', 'unexpected EOF'],
    ['{"name":', 'unexpected EOF'],
    ['xyz', "invalid character 'x' looking for beginning of value at offset 1"],
    ['{"name":"X"} x', "invalid character 'x' looking for beginning of value at offset 14"],
    ['{"name":"X\n"}', "invalid character '\\n' in string literal at offset 11"],
    ['{"name":"X",}', "invalid character '}' looking for beginning of object key string at offset 13"],
    ['{"name" "X"}', "invalid character '\"' after object key at offset 9"],
    ["{'name':1}", "invalid character '\\'' looking for beginning of object key string at offset 2"],
    ['[]', 'json: cannot unmarshal array into Go value of type server.StreamConfigRequest'],
    ['"x"', 'json: cannot unmarshal string into Go value of type server.StreamConfigRequest'],
    ['{"bogus":1}', 'json: unknown field "bogus"'],
    ['{"name":3}', `json: cannot unmarshal number into ${field}.name of type string`],
    ['{"max_msgs":"a"}', `json: cannot unmarshal string into ${field}.max_msgs of type int64`],
    ['{"max_msgs":1.5}', `json: cannot unmarshal number 1.5 into ${field}.max_msgs of type int64`],
    ['{"max_msgs":1e3}', `json: cannot unmarshal number 1e3 into ${field}.max_msgs of type int64`],
    ['{"first_seq":-1}', `json: cannot unmarshal number -1 into ${field}.first_seq of type uint64`],
    ['{"subjects":"a"}', `json: cannot unmarshal string into ${field}.subjects of type []string`],
    ['{"subjects":[1]}', `json: cannot unmarshal number into ${field}.subjects of type string`],
    ['{"retention":"a"}', 'can not unmarshal "\\"a\\""'],
    ['{"retention":1}', 'can not unmarshal "1"'],
    ['{"retention":null}', 'can not unmarshal "null"'],
    ['{"sealed":"a"}', `json: cannot unmarshal string into ${field}.sealed of type bool`],
    ['{"max_age":"1s"}', `json: cannot unmarshal string into ${field}.max_age of type time.Duration`],
    ['{"placement":"a"}', `json: cannot unmarshal string into ${field}.placement of type server.Placement`],
    ['{"placement":{"a":1}}', 'json: unknown field "a"'],
    [
      '{"placement":{"cluster":1}}',
      'json: cannot unmarshal number into Go struct field Placement.StreamConfig.placement.cluster of type string',
    ],
    ['{"metadata":{"a":1}}', `json: cannot unmarshal number into ${field}.metadata of type string`],
    ['{"metadata":[]}', `json: cannot unmarshal array into ${field}.metadata of type map[string]string`],
    ['{"at":"a"}', 'parsing time "a" as "2006-01-02T15:04:05Z07:00": cannot parse "a" as "2006"'],
    ['{"at":"2024-01-02"}', 'parsing time "2024-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"'],
    ['{"at":"2024-13-01T00:00:00Z"}', 'parsing time "2024-13-01T00:00:00Z": month out of range'],
    ['{"at":"2023-02-29T00:00:00Z"}', 'parsing time "2023-02-29T00:00:00Z": day out of range'],
    ['{"at":"2024-01-02T24:00:00Z"}', 'parsing time "2024-01-02T24:00:00Z": hour out of range'],
    ['{"at":"2024-01-02T00:00:00Zx"}', 'parsing time "2024-01-02T00:00:00Zx": extra text: "x"'],
    ['{"max_msgs":9223372036854775808}', unfit('9223372036854775808', 'max_msgs', 'int64')],
    ['{"max_msgs":-9223372036854775809}', unfit('-9223372036854775809', 'max_msgs', 'int64')],
    ['{"first_seq":18446744073709551616}', unfit('18446744073709551616', 'first_seq', 'uint64')],
    ['{"first_seq":-0}', unfit('-0', 'first_seq', 'uint64')],
    ['{"name":3,"retention":"a"}', 'can not unmarshal "\\"a\\""'],
    ['{"at":1}', 'Time.UnmarshalJSON: input is not a JSON string'],
    ['{"name":3,"bogus":1}', `json: cannot unmarshal number into ${field}.name of type string`],
    ['['.repeat(100), 'exceeded max depth'],
  ])('%s', (source, words) => {
    expect(decode(source)).toBe(words);
  });
});

test('agrees with JSON.parse on what is JSON', () => {
  const mutated = fc.tuple(fc.json(), fc.nat(), fc.constantFrom('', '"', '{', ',', ' ', '0', '\\', '\u0001'));
  const any = schema('X', { name: anything });
  fc.assert(
    fc.property(mutated, ([source, at, change]) => {
      const position = at % (source.length + 1);
      const damaged = `{"name":${source.slice(0, position)}${change}${source.slice(position + 1)}}`;
      let isJson = true;
      try {
        isJson = Object.keys(JSON.parse(damaged)).join() === 'name';
      } catch {
        isJson = false;
      }
      expect(typeof decodeStrict(new TextEncoder().encode(damaged), any)).toBe(isJson ? 'object' : 'string');
    }),
    { numRuns: 1000 },
  );
});
