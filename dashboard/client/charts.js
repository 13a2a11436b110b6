// Draws the charts of a page with uPlot: in the colours of the page, with a readout of the figures under the cursor, by mouse, finger or keys.
import uPlot from './uplot.js';

/** @typedef {{ of: string, label: string, colour: string, dash?: string, filled?: boolean }} Line */
/** @typedef {Record<string, Array<number | null>> & { at: number[] }} Columns */

const HEIGHT = 180;
const RENEW_MS = 30_000;
const SPARE_MS = 5_000;
/** @type {Array<[ms: number, unit: string]>} */
const STEPS = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1_000, 's'],
  [1, 'ms'],
];

/** @param {number} value @param {string} unit */
function textOf(value, unit) {
  if (unit === 'rate')
    return value > 0 && value < 10 ? String(Number(value.toFixed(1))) : Math.round(value).toLocaleString('en-US');
  if (unit === 'count') return Math.round(value).toLocaleString('en-US');
  if (value === 0) return '0';
  const [step, name] = STEPS.find(([least]) => value >= least) ?? [1, 'ms'];
  const scaled = value / step;
  return `${scaled < 10 ? Number(scaled.toFixed(1)) : Math.round(scaled)} ${name}`;
}

/** Steps of an axis of times: those that people count in. */
const TIME_STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 1.5e4, 3e4, 6e4, 1.2e5, 3e5, 6e5, 9e5, 1.8e6, 3.6e6, 7.2e6,
  1.08e7, 2.16e7, 4.32e7, 8.64e7, 1.728e8, 4.32e8, 8.64e8,
];
const COUNT_STEPS = [1, 2, 5]
  .flatMap((step) => Array.from({ length: 9 }, (_, power) => step * 10 ** power))
  .toSorted((one, other) => one - other);

const DAY_S = 86_400;
const CLOCK = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' });
const DATE = new Intl.DateTimeFormat([], { day: 'numeric', month: 'short' });

/** A time on the axis, as the reader's own country writes it; at midnight the day. @param {number} at @param {number} step in seconds */
function timeText(at, step) {
  const time = new Date(at * 1_000);
  const isMidnight = time.getHours() === 0 && time.getMinutes() === 0;
  return step >= DAY_S || isMidnight ? DATE.format(time) : CLOCK.format(time);
}

/** @param {string} token */
function colourOf(token) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${token}`).trim();
}

/** A chart of the page. */
class Chart {
  /** @param {HTMLElement} figure */
  constructor(figure) {
    this.figure = figure;
    this.unit = figure.dataset['unit'] ?? 'count';
    /** @type {Line[]} */
    this.lines = JSON.parse(figure.dataset['lines'] ?? '[]');
    this.place = /** @type {HTMLElement} */ (figure.querySelector('.plot'));
    this.readout = /** @type {HTMLElement} */ (figure.querySelector('.readout'));
    /** @type {uPlot | undefined} */
    this.plot = undefined;
    /** @type {uPlot.AlignedData} */
    this.data = [[]];
    this.place.addEventListener('keydown', (event) => this.onKey(event));
    this.place.addEventListener('blur', () => this.point(null));
    new ResizeObserver(() => this.plot?.setSize({ width: this.place.clientWidth, height: HEIGHT })).observe(this.place);
  }

  /** @param {Columns} columns */
  show(columns) {
    this.data = [columns.at, ...this.lines.map(({ of }) => columns[of] ?? [])];
    if (this.plot) this.plot.setData(this.data);
    else this.draw();
    this.tell(null);
  }

  /** Draws it anew, as when the colours have changed. */
  draw() {
    this.plot?.destroy();
    this.plot = new uPlot(this.options(), this.data, this.place);
  }

  /** @returns {uPlot.Options} */
  options() {
    const text = colourOf('muted-foreground');
    const grid = { stroke: colourOf('border'), width: 1 };
    const font = `12px ${colourOf('font-sans') || 'sans-serif'}`;
    const axis = { stroke: text, grid, ticks: { ...grid, size: 4 }, font };
    return {
      width: this.place.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.1 : 1] } },
      axes: [
        {
          ...axis,
          size: 30,
          space: 64,
          values: (_plot, times, _axis, _space, step) => times.map((at) => timeText(at, step)),
        },
        {
          ...axis,
          size: 62,
          space: 32,
          incrs: this.unit === 'ms' ? TIME_STEPS : this.unit === 'rate' ? [0.1, 0.2, 0.5, ...COUNT_STEPS] : COUNT_STEPS,
          values: (_plot, values) => values.map((value) => textOf(value, this.unit)),
        },
      ],
      series: [
        {},
        ...this.lines.map(({ label, colour, dash, filled }) => ({
          label,
          stroke: colourOf(colour),
          width: 1.75,
          points: { show: isAlone, size: 4 },
          ...(dash && { dash: dash.split(' ').map(Number) }),
          ...(filled && { fill: `color-mix(in srgb, ${colourOf(colour)} 16%, transparent)` }),
        })),
      ],
      hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx ?? null)] },
    };
  }

  /** Writes the figures of a point; without one those of the last that has any. @param {number | null} index */
  tell(index) {
    const [times, ...columns] = this.data;
    const last = [...times].findLastIndex((_at, place) => columns.some((column) => column?.[place] !== null));
    const place = index ?? last;
    const at = times[place];
    if (at === undefined) {
      this.readout.textContent = 'Nothing was counted in this time.';
      return;
    }
    const when = new Date(at * 1_000).toLocaleString([], { dateStyle: 'short', timeStyle: 'short' });
    const figures = this.lines.map(({ label }, line) => {
      const value = columns[line]?.[place];
      return `${label} ${value === null || value === undefined ? '–' : textOf(value, this.unit)}`;
    });
    this.readout.textContent = `${when}: ${figures.join(', ')}`;
  }

  /** Puts the cursor on a point. @param {number | null} index */
  point(index) {
    if (!this.plot) return;
    const at = index === null ? undefined : this.data[0][index];
    this.plot.setCursor({ left: at === undefined ? -10 : this.plot.valToPos(at, 'x'), top: 0 });
    if (index === null) this.tell(null);
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const last = this.data[0].length - 1;
    const now = this.plot?.cursor.idx ?? last + 1;
    const step = event.shiftKey ? 10 : 1;
    /** @type {Record<string, number>} */
    const places = { ArrowLeft: now - step, ArrowRight: now + step, Home: 0, End: last };
    const place = places[event.key];
    if (event.key === 'Escape') this.point(null);
    if (place === undefined || last < 0) return;
    event.preventDefault();
    this.point(Math.max(0, Math.min(last, place)));
    this.readout.setAttribute('aria-live', 'polite');
  }
}

/**
 * A point without neighbours has no line that would show it.
 *
 * @param {uPlot} plot @param {number} series @param {number} first @param {number} last
 */
function isAlone(plot, series, first, last) {
  const column = plot.data[series] ?? [];
  let known = 0;
  for (let place = first; place <= last && known < 3; place += 1) known += column[place] === null ? 0 : 1;
  return known < 3;
}

for (const set of document.querySelectorAll('[data-charts]')) {
  if (!(set instanceof HTMLElement)) continue;
  const charts = [...set.querySelectorAll('.chart')].map((figure) => new Chart(/** @type {HTMLElement} */ (figure)));
  let loadedAt = 0;

  const load = async () => {
    loadedAt = performance.now();
    try {
      const response = await fetch(set.dataset['charts'] ?? '', { headers: { accept: 'application/json' } });
      if (!response.ok) return;
      const columns = await response.json();
      for (const chart of charts) chart.show(columns);
    } catch {
      // Not reachable for now; what is drawn stays, and the bar says how old it is.
    }
  };
  // The history grows by the minute: with each look of the collector there is no need to draw it.
  const renew = () => {
    if (!document.hidden && performance.now() - loadedAt > RENEW_MS) void load();
  };
  const redraw = () => {
    for (const chart of charts) chart.draw();
  };
  document.addEventListener('millrace:live', renew);
  document.addEventListener('visibilitychange', renew);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  setInterval(renew, RENEW_MS + SPARE_MS);
  void load();
}
