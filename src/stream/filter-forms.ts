// The forms in which the subject table takes filters: literal patterns as bytes, others compiled, what stands before a final `>`. Each
// is made once per filter. Pure; used by message-index.ts.
import { hasWildcard } from '../subjects/subject.ts';
import { type Matcher, matchersOf } from './subject-matcher.ts';
import { utf8Bytes } from './text.ts';
import type { SubjectFilter } from './types.ts';

export class FilterForms {
  readonly #literals = new WeakMap<SubjectFilter, Uint8Array[]>();
  readonly #matchers = new WeakMap<SubjectFilter, readonly Matcher[]>();
  readonly #prefixes = new WeakMap<SubjectFilter, Uint8Array[]>();

  literals(filter: SubjectFilter): Uint8Array[] {
    return once(this.#literals, filter, () => filter.patterns.map(utf8Bytes));
  }

  matchers(filter: SubjectFilter): readonly Matcher[] {
    return once(this.#matchers, filter, () => matchersOf(filter.patterns));
  }

  /** Of patterns that end in `>` and have no other wildcard: what is before it. */
  prefixes(filter: SubjectFilter): Uint8Array[] {
    return once(this.#prefixes, filter, () => {
      const tails = filter.patterns.filter((pattern) => pattern.endsWith('.>')).map((pattern) => pattern.slice(0, -1));
      return tails.filter((prefix) => !hasWildcard(prefix)).map(utf8Bytes);
    });
  }
}

function once<T>(forms: WeakMap<SubjectFilter, T>, filter: SubjectFilter, make: () => T): T {
  let form = forms.get(filter);
  if (form === undefined) {
    form = make();
    forms.set(filter, form);
  }
  return form;
}
