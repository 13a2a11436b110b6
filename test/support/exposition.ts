/** Reads what Prometheus reads, strictly: whatever is not as the format 0.0.4 has it is an error. */

/** One metric as it was read. */
export interface ReadMetric {
  help: string;
  type: string;
  /** Values by the line's name and its labels, in the order they stand. */
  lines: Array<{ name: string; labels: Record<string, string>; value: number }>;
}

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/s;
const PAIR = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(,|$)/gsy;
const NUMBER = /^(?:[+-]Inf|NaN|-?\d+(?:\.\d+)?(?:e[+-]\d+)?)$/;

/**
 * The metrics of a text by name.
 *
 * @example
 * const read = readExposition(await metrics.render());
 * expect(read.get('mails_sent_total')?.lines).toEqual([{ name: 'mails_sent_total', labels: {}, value: 1 }]);
 */
export function readExposition(text: string): Map<string, ReadMetric> {
  const metrics = new Map<string, ReadMetric>();
  if (!text.endsWith('\n')) throw new Error('the last line must end with a line feed');
  const seen = new Set<string>();
  let current: { name: string; metric: ReadMetric } | undefined;
  // Only the line feed ends a line; a carriage return is a character like any other.
  for (const line of text.slice(0, -1).split('\n')) {
    const [, kind, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/s.exec(line) ?? [];
    if (kind === 'HELP') {
      if (metrics.has(name)) throw new Error(`${name} has two HELP lines`);
      current = { name, metric: { help: unescape(rest), type: '', lines: [] } };
      metrics.set(name, current.metric);
    } else if (kind === 'TYPE') {
      if (current?.name !== name || current.metric.type !== '') throw new Error(`TYPE of ${name} out of place`);
      if (!['counter', 'gauge', 'histogram'].includes(rest)) throw new Error(`${name} is of type ${rest}`);
      current.metric.type = rest;
    } else {
      if (!current) throw new Error(`no metric for: ${line}`);
      const value = readLine(line);
      const owner = current.metric.type === 'histogram' ? value.name.replace(/_(bucket|sum|count)$/, '') : value.name;
      if (owner !== current.name) throw new Error(`a line of ${value.name} under ${current.name}`);
      const series = value.name + labelKey(value.labels);
      if (seen.has(series)) throw new Error(`twice: ${line}`);
      seen.add(series);
      current.metric.lines.push(value);
    }
  }
  return metrics;
}

/** The value of the line with this name and these labels, whatever their order; undefined when there is none. */
export function valueIn(text: string, name: string, labels: Record<string, string> = {}): number | undefined {
  const wanted = labelKey(labels);
  return [...readExposition(text).values()]
    .flatMap(({ lines }) => lines)
    .find((line) => line.name === name && labelKey(line.labels) === wanted)?.value;
}

/** The same text for the same labels, whatever their order. */
export function labelKey(labels: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(labels).toSorted(([left], [right]) => (left < right ? -1 : 1)));
}

function readLine(line: string): ReadMetric['lines'][number] {
  const [, name, labels, number] = LINE.exec(line) ?? [];
  if (name === undefined || number === undefined || !NUMBER.test(number)) throw new Error(`not a line: ${line}`);
  return { name, labels: readLabels(labels ?? ''), value: Number(number.replace('Inf', 'Infinity')) };
}

function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  let end = 0;
  for (const match of text.matchAll(PAIR)) {
    const [whole, name = '', value = ''] = match;
    if (name in labels) throw new Error(`label ${name} twice in: ${text}`);
    labels[name] = unescape(value);
    end = match.index + whole.length;
  }
  if (end !== text.length) throw new Error(`not labels: ${text}`);
  return labels;
}

function unescape(text: string): string {
  return text.replaceAll(/\\([\\n"])/g, (_all, letter: string) => (letter === 'n' ? '\n' : letter));
}
