// A page of a stream's subjects with their numbers of messages. There may be millions, so they are looked at in slices of some milliseconds, between
// which others have their turn; subjects that come and go meanwhile may be in it or not. Used by partition.ts.
import type { Clock } from '../kit/env.ts';
import { compileFilter } from './consumer-filter.ts';
import type { MessageIndex } from './message-index.ts';

/** Subjects per slice: those that are named cost more than those that are only counted. */
const NAMED_PER_SLICE = 4_000;
const COUNTED_PER_SLICE = 30_000;

export interface SubjectsPage {
  filter: string;
  offset: number;
  limit: number;
}

/** `done` gets the page, and how many subjects match in all. */
export function pageOfSubjects(
  clock: Clock,
  index: MessageIndex,
  page: SubjectsPage,
  done: (subjects: Record<string, number>, total: number) => void,
): void {
  const filter = compileFilter([page.filter]);
  const end = page.offset + page.limit;
  const subjects: Record<string, number> = {};
  let total = 0;
  const take = (id: number): void => {
    if (total >= page.offset && total < end) subjects[index.nameOfSubject(id)] = index.countOfSubject(id);
    total++;
  };
  const slice = (from: number): void => {
    const isNaming = total >= page.offset && total < end;
    const next = index.someSubjects(from, filter, isNaming ? NAMED_PER_SLICE : COUNTED_PER_SLICE, take);
    if (next > 0) clock.after(0, () => slice(next));
    else done(subjects, total);
  };
  slice(0);
}
