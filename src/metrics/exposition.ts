/**
 * The text that Prometheus reads, exposition format 0.0.4: a HELP and a TYPE line a metric, then one line a value.
 *
 * All knowledge of the format is here: what must be escaped, how numbers are written, which names are allowed.
 */

/** What a metric may be called. */
export const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
/** What a label may be called; two underscores in front are kept for Prometheus itself. */
export const LABEL_NAME = /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/;
/** The label of a histogram's buckets; no metric may have it as its own. */
export const BUCKET_LABEL = 'le';

/** The kinds of metrics that the registry has. */
export type MetricType = 'counter' | 'gauge' | 'histogram';

/** The names of the lines that a metric writes; two metrics that share one could not be told apart. */
export function seriesNames(name: string, type: MetricType): string[] {
  return type === 'histogram' ? [name, `${name}_bucket`, `${name}_sum`, `${name}_count`] : [name];
}

/** The two lines that stand before a metric's values. */
export function formatHeader(name: string, type: MetricType, help: string): string {
  const oneLine = help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  return `# HELP ${name} ${oneLine}\n# TYPE ${name} ${type}\n`;
}

/** Label pairs as they stand between the braces; empty for none. */
export function formatLabels(pairs: ReadonlyArray<readonly [name: string, value: string]>): string {
  return pairs.map(([name, value]) => `${name}="${escapeLabel(value)}"`).join(',');
}

/** One line: a value, or one bucket of a histogram. */
export function formatLine(name: string, labels: string, value: number): string {
  return labels === '' ? `${name} ${formatNumber(value)}\n` : `${name}{${labels}} ${formatNumber(value)}\n`;
}

/** A number as Prometheus reads it. */
export function formatNumber(value: number): string {
  if (value === Infinity) return '+Inf';
  if (value === -Infinity) return '-Inf';
  return String(value);
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}
