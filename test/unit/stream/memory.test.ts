import { expect, test } from 'vitest';
import { KeyTable } from '../../../src/stream/key-table.ts';
import { MessageIndex, SUBJECT_WORDS } from '../../../src/stream/message-index.ts';

test('a million distinct subjects: at most 36 bytes each beside their names, nothing on the JS heap', () => {
  const count = 1_000_000;
  const names = new KeyTable(SUBJECT_WORDS, 1);
  const name = new TextEncoder().encode('sensor.0000000.temp');
  for (let i = 0; i < count; i++) {
    for (let d = 13, rest = i; d >= 7; d--, rest = Math.floor(rest / 10)) name[d] = 48 + (rest % 10);
    names.findOrInsert(name, 0, name.length);
  }
  expect(names.size).toBe(count);
  const nameBytes = 20; // 19 and the length
  expect(names.bytes / count - nameBytes).toBeLessThan(36);
  expect(names.find(name, 0, name.length)).toBe(count);
});

test('what a stream holds after churn follows what is live, not what passed', () => {
  const index = new MessageIndex(1);
  const subject = new TextEncoder().encode('hot.0000');
  for (let entry = 1; entry <= 400; entry++) {
    index.beginEntry(entry, entry);
    for (let i = 0; i < 500; i++) {
      for (let d = 7, rest = (entry * 7 + i) % 2000; d >= 4; d--, rest = Math.floor(rest / 10))
        subject[d] = 48 + (rest % 10);
      const id = index.subjectId(subject, 0, subject.length);
      index.add(id, i, 100);
      while (index.countOfSubject(id) > 1) index.remove(index.firstOfSubject(id));
    }
    index.endEntry();
  }
  expect(index.messages).toBe(index.subjects);
  expect(index.messages).toBeLessThanOrEqual(2000);
  expect(index.tableBytes).toBeLessThan(800_000);
});

test('a message among 1,000 subjects in any order, of any size up to 1 KB: at most 11 bytes', () => {
  const index = new MessageIndex(1);
  const subject = new TextEncoder().encode('any.000');
  const count = 200_000;
  let state = 1;
  const below = (n: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 4294967296) * n);
  };
  for (let entry = 1; entry <= count / 100; entry++) {
    index.beginEntry(entry, entry);
    let offset = 32;
    for (let i = 0; i < 100; i++) {
      for (let d = 6, rest = below(1000); d >= 4; d--, rest = Math.floor(rest / 10)) subject[d] = 48 + (rest % 10);
      const size = below(1024);
      index.add(index.subjectId(subject, 0, subject.length), offset, size);
      offset += size;
    }
    index.endEntry();
  }
  expect(index.tableBytes / count).toBeLessThan(11);
});
