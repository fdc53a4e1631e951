// Compiled subject filters of consumers (and of whoever else filters messages of a stream). Pure.
import { hasWildcard, subjectMatches } from '../subjects/subject.ts';
import type { ConsumerConfig } from './config.ts';
import { anyOf, FEW } from './subject-matcher.ts';
import type { SubjectFilter } from './types.ts';

/** Above this many literal patterns a Set decides. */
const LITERALS_COMPARED_MAX = 4;

/** `>` alone and no pattern at all are the same: everything. */
export function compileFilter(patterns: readonly string[]): SubjectFilter {
  const kept = patterns.includes('>') ? [] : patterns;
  const literal = kept.length > 0 && !kept.some(hasWildcard);
  return { patterns: kept, literal, matches: matcher(kept, literal) };
}

function matcher(patterns: readonly string[], literal: boolean): (subject: string) => boolean {
  if (patterns.length === 0) return () => true;
  if (patterns.length === 1) {
    const only = patterns[0];
    return literal ? (subject) => subject === only : (subject) => subjectMatches(only, subject);
  }
  if (literal && patterns.length > LITERALS_COMPARED_MAX) {
    const set = new Set(patterns);
    return (subject) => set.has(subject);
  }
  if (patterns.length > FEW) return anyOf(patterns);
  return (subject) => {
    for (let i = 0; i < patterns.length; i++) if (subjectMatches(patterns[i], subject)) return true;
    return false;
  };
}

export function filterPatterns(config: ConsumerConfig): readonly string[] {
  if (config.filter_subjects !== undefined && config.filter_subjects.length > 0) return config.filter_subjects;
  return config.filter_subject !== undefined && config.filter_subject !== '' ? [config.filter_subject] : [];
}
