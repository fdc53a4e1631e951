// From the table of alarms: the rule file for Prometheus, and the table in docs/OPERATIONS.md. A test keeps both equal to it. Pure.
import { ALARMS } from './alarms.ts';

const DOC_URL = 'docs/OPERATIONS.md';

/** deploy/prometheus/flotilla.rules.yml. Texts go in as JSON strings, which YAML reads as they are. */
export function rulesYaml(): string {
  const rules = ALARMS.map(({ name, severity, expr, for: held, summary, action }) =>
    [
      `      - alert: ${name}`,
      `        expr: ${JSON.stringify(expr)}`,
      `        for: ${held}`,
      '        labels:',
      `          severity: ${severity}`,
      '        annotations:',
      `          summary: ${JSON.stringify(summary)}`,
      `          description: ${JSON.stringify(action)}`,
      `          runbook: ${DOC_URL}#${name.toLowerCase()}`,
    ].join('\n'),
  );
  return [
    '# Generated from src/monitoring/alarms.ts (UPDATE=1 npm test -- test/unit/monitoring); do not edit.',
    'groups:',
    '  - name: flotilla',
    '    rules:',
    ...rules,
    '',
  ].join('\n');
}

/** What to do for each alert, as sections of a page. */
export function alarmsDoc(): string {
  return ALARMS.map(({ name, severity, expr, for: held, summary, action, holds }) =>
    [
      `### ${name}`,
      '',
      `${severity}; ${plain(summary)}.`,
      '',
      `\`${expr}\`${held === '0s' ? '' : ` for ${held}`}${holds ? '. Also in `flotilla status`' : ''}.`,
      '',
      action,
    ].join('\n'),
  ).join('\n\n');
}

/** Without Prometheus' templates. */
function plain(summary: string): string {
  return summary.replace(/\{\{ \$value[^}]*\}\}/g, 'N').replace(/\{\{ \$labels\.(\w+) \}\}/g, '($1)');
}
