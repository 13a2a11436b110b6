/** Charts, drawn by dashboard/client/charts.js, and the same figures as a table for whoever has no script or wants the numbers. */
import type { HistoryPoint } from 'millrace';
import { Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { RANGES, type Range } from './chart-data.ts';
import { countText, durationText } from './texts.ts';

interface Line {
  /** The column of the data. */
  of: string;
  label: string;
  /** The token of its colour: `chart-1`. */
  colour: string;
  /** Dashes tell lines apart where colours do not. */
  dash?: string;
  filled?: boolean;
}

interface ChartKind {
  id: string;
  title: string;
  unit: 'count' | 'rate' | 'ms';
  lines: readonly Line[];
}

const PERCENTILES = (name: string): Line[] => [
  { of: `${name}50`, label: 'p50', colour: 'chart-3' },
  { of: `${name}95`, label: 'p95', colour: 'chart-4', dash: '6 3' },
  { of: `${name}99`, label: 'p99', colour: 'chart-2', dash: '2 3' },
];

export const CHARTS: readonly ChartKind[] = [
  {
    id: 'throughput',
    title: 'Throughput, attempts a minute',
    unit: 'rate',
    lines: [
      { of: 'completed', label: 'completed', colour: 'chart-1', filled: true },
      { of: 'failed', label: 'failed', colour: 'chart-2', dash: '6 3' },
    ],
  },
  { id: 'wait', title: 'Wait until the first attempt', unit: 'ms', lines: PERCENTILES('wait') },
  { id: 'run', title: 'Run time of attempts', unit: 'ms', lines: PERCENTILES('run') },
  {
    id: 'depth',
    title: 'Depth, jobs that wait',
    unit: 'count',
    lines: [{ of: 'depth', label: 'waiting', colour: 'chart-5', filled: true }],
  },
  {
    id: 'oldest',
    title: 'Age of the oldest waiting job',
    unit: 'ms',
    lines: [{ of: 'oldest', label: 'oldest', colour: 'chart-4', filled: true }],
  },
];

/** Charts of a queue, or of all. `only` are the ids of those to show. */
export function ChartSet({
  queue,
  range,
  only,
}: {
  queue: string | undefined;
  range: Range;
  only?: readonly string[];
}) {
  const { path } = useView();
  const query = new URLSearchParams({ range, ...(queue !== undefined && { queue }) });
  return (
    <div class="charts" data-charts={path(`/live/charts.json?${query}`)}>
      {CHARTS.filter(({ id }) => only?.includes(id) ?? true).map((chart) => (
        <Chart key={chart.id} {...chart} />
      ))}
    </div>
  );
}

function Chart({ id, title, unit, lines }: ChartKind) {
  return (
    <figure class="chart" data-chart={id} data-unit={unit} data-lines={JSON.stringify(lines)}>
      <figcaption id={`chart-${id}`}>{title}</figcaption>
      <ul class="legend" aria-hidden="true">
        {lines.map(({ of, label, colour }) => (
          <li key={of} class={`key-${colour}`}>
            {label}
          </li>
        ))}
      </ul>
      <div class="plot" tabIndex={0} role="img" aria-labelledby={`chart-${id}`} />
      <output class="readout" />
    </figure>
  );
}

/** The figures as a table, the newest first. */
export function FigureTable({ points, range }: { points: readonly HistoryPoint[]; range: Range }) {
  const step = range === '24h' ? 'hour' : RANGES[range].step;
  return (
    <details class="figures">
      <summary>The same figures as a table</summary>
      <Table
        label={`Figures by the ${step}`}
        rows={points.toReversed()}
        rowKey={({ at }) => String(at)}
        columns={[
          { head: 'When', isTitle: true, cell: ({ at }) => <Time at={at} /> },
          { head: 'Completed', align: 'end', cell: ({ completed }) => countText(completed) },
          { head: 'Failed', align: 'end', cell: ({ failed }) => countText(failed) },
          { head: 'Dead', align: 'end', cell: ({ dead }) => countText(dead) },
          { head: 'Wait p50 / p95 / p99', align: 'end', cell: ({ waitMs }) => percentilesText(waitMs) },
          { head: 'Run p50 / p95 / p99', align: 'end', cell: ({ runMs }) => percentilesText(runMs) },
          { head: 'Depth', align: 'end', cell: ({ depth }) => (depth === undefined ? '–' : countText(depth)) },
          {
            head: 'Oldest',
            align: 'end',
            cell: ({ oldestAgeMs }) => (oldestAgeMs === undefined ? '–' : durationText(oldestAgeMs)),
          },
        ]}
      />
    </details>
  );
}

function percentilesText(times: HistoryPoint['waitMs']): string {
  return times ? [times.p50, times.p95, times.p99].map(durationText).join(' / ') : '–';
}
