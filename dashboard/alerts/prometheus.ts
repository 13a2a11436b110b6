/**
 * The rules as Prometheus has them, for those who alert with it: the same thresholds over the metrics that GET /metrics gives.
 *
 * Texts are written as JSON strings, which YAML reads as they are.
 */
import { z } from 'zod';
import { checkOptions } from 'millrace';
import { DEFAULT_RULES, regexOf, rulesOption, type AlertRule, type CheckedRule } from './rules.ts';

/**
 * A rules file for Prometheus.
 *
 * @example
 * writeFileSync('millrace.rules.yml', prometheusRules([{ kind: 'oldest-age', queues: ['email'], over: '30s', severity: 'critical' }]));
 * @throws MillraceError OPTIONS_INVALID
 */
export function prometheusRules(rules: readonly AlertRule[] = DEFAULT_RULES): string {
  return rulesFile(checkOptions(z.strictObject({ rules: rulesOption }), { rules }, 'prometheusRules').rules);
}

/** Likewise, of rules that are checked. */
export function rulesFile(rules: readonly CheckedRule[]): string {
  const lines = ['groups:', '  - name: millrace', '    rules:'];
  if (rules.length === 0) lines[2] = '    rules: []';
  for (const rule of rules) {
    const { expr, summary } = queryOf(rule);
    lines.push(
      `      - alert: ${JSON.stringify(alertName(rule.name))}`,
      `        expr: ${JSON.stringify(expr)}`,
      `        for: ${promDuration(rule.for)}`,
      // Prometheus 2.42 and later; older ones refuse the file.
      ...(rule.clear > 0 ? [`        keep_firing_for: ${promDuration(rule.clear)}`] : []),
      '        labels:',
      `          severity: ${rule.severity}`,
      '        annotations:',
      `          summary: ${JSON.stringify(summary)}`,
    );
  }
  return `${lines.join('\n')}\n`;
}

interface Query {
  expr: string;
  summary: string;
}

function queryOf(rule: CheckedRule): Query {
  switch (rule.kind) {
    case 'oldest-age':
      return {
        expr: `max by (queue) (millrace_queue_oldest_waiting_seconds${selector(rule.queues)}) > ${rule.over / 1_000}`,
        summary: 'The oldest job of queue {{ $labels.queue }} has waited for {{ $value | humanizeDuration }}.',
      };
    case 'failure-rate': {
      const span = `[${promDuration(rule.within)}]`;
      const failed = selector(rule.queues, 'outcome=~"failed|retried|dead|timeout"');
      const ended = selector(rule.queues, 'outcome=~"completed|failed|retried|dead|timeout"');
      const all = `sum by (queue) (increase(millrace_jobs_finished_total${ended}${span}))`;
      const share = `sum by (queue) (increase(millrace_jobs_finished_total${failed}${span})) / ${all}`;
      return {
        expr: `${share} > ${rule.over} and ${all} >= ${rule.least}`,
        summary: '{{ $value | humanizePercentage }} of the attempts of queue {{ $labels.queue }} failed.',
      };
    }
    case 'dead-letters':
      return {
        expr: `max by (queue) (millrace_queue_jobs${selector(rule.queues, 'state="dead"')}) > ${rule.over}`,
        summary: 'Queue {{ $labels.queue }} has {{ $value }} dead letters.',
      };
    case 'dead-letter-growth':
      return {
        expr: `sum by (queue) (increase(millrace_dead_letters_total${selector(rule.queues)}[${promDuration(rule.within)}])) > ${rule.over}`,
        summary: '{{ $value | humanize }} jobs of queue {{ $labels.queue }} became dead letters.',
      };
    case 'missed-schedule':
      return {
        expr: `sum by (queue, contract) (increase(millrace_schedule_ticks_missed_total[${promDuration(rule.within)}])) > 0`,
        summary: 'A tick of a schedule of {{ $labels.contract }} was missed.',
      };
    case 'silent-worker':
      return {
        expr: 'max(millrace_fleet_workers{state="silent"}) > 0',
        summary: '{{ $value }} worker processes are not heard of any more.',
      };
    case 'stream-lag':
      return {
        expr: `max by (stream, group) (millrace_streams_lag${selector(rule.streams, undefined, 'stream')}) > ${rule.over}`,
        summary:
          'Group {{ $labels.group }} of stream {{ $labels.stream }} has {{ $value }} entries that it has not read.',
      };
  }
}

/** What Prometheus selects by: names that fit, and what else is asked for. */
function selector(names: readonly string[] | undefined, also?: string, label = 'queue'): string {
  const parts = [
    // In a text of PromQL a backslash is written twice.
    ...(names ? [`${label}=~"${names.map(regexOf).join('|').replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`] : []),
    ...(also === undefined ? [] : [also]),
  ];
  return parts.length === 0 ? '' : `{${parts.join(',')}}`;
}

/** `oldest-age` is `MillraceOldestAge`. */
function alertName(name: string): string {
  const words = name.split(/[-_]+/).map((word) => word.slice(0, 1).toUpperCase() + word.slice(1));
  return `Millrace${words.join('')}`;
}

/** Whole seconds, or ms where there are none: `90s`. */
function promDuration(ms: number): string {
  return ms % 1_000 === 0 ? `${ms / 1_000}s` : `${Math.round(ms)}ms`;
}
