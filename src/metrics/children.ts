/**
 * The values themselves: one child for each combination of labels, bound once and then counted on by every job.
 *
 * What a job calls here does one or two additions: no look-up, no hash, no allocation. It never throws either, because
 * a job must not fail by being measured: an amount that would spoil a value for good (NaN, infinite, a counter going
 * down) is ignored.
 */
import { BUCKET_LABEL, formatLabels, formatLine, formatNumber } from './exposition.ts';

/** A number that only grows, until the process ends. */
export interface Counter {
  /** Adds `n`, default 1. A negative or not finite `n` is ignored. */
  inc(n?: number): void;
}

/** A number that goes up and down. */
export interface Gauge {
  /** Any number is shown as it is, also NaN. */
  set(value: number): void;
  /** Adds `n`, default 1. */
  inc(n?: number): void;
  /** Takes away `n`, default 1. */
  dec(n?: number): void;
}

/** How many values fell into each range. */
export interface Histogram {
  /** Counts a value. One that is not finite is ignored. */
  observe(value: number): void;
}

/** What the registry asks of a child at a scrape. */
export interface Child {
  /** The lines of this child, for the metric's name and the labels as formatLabels() gives them. */
  format(name: string, labels: string): string;
}

/** The counter that the registry binds. */
export class CounterChild implements Counter, Child {
  #value = 0;

  inc(n = 1): void {
    if (n >= 0 && n < Infinity) this.#value += n;
  }

  format(name: string, labels: string): string {
    return formatLine(name, labels, this.#value);
  }
}

/** The gauge that the registry binds, and what holds a collected value of any type. */
export class GaugeChild implements Gauge, Child {
  #value = 0;

  set(value: number): void {
    this.#value = value;
  }

  inc(n = 1): void {
    this.#value += n;
  }

  dec(n = 1): void {
    this.#value -= n;
  }

  format(name: string, labels: string): string {
    return formatLine(name, labels, this.#value);
  }
}

/** The upper bounds of a histogram, shared by all of its children. */
export interface Buckets {
  /** Ascending and finite; what is above the last falls into +Inf. */
  readonly bounds: readonly number[];
  /** The bucket label of each bound, and of +Inf. */
  readonly labels: readonly string[];
}

/** Buckets for HistogramChild. */
export function createBuckets(bounds: readonly number[]): Buckets {
  const labels = [...bounds, Infinity].map((bound) => formatLabels([[BUCKET_LABEL, formatNumber(bound)]]));
  return { bounds: [...bounds], labels };
}

/** The histogram that the registry binds. */
export class HistogramChild implements Histogram, Child {
  readonly #bounds: readonly number[];
  readonly #labels: readonly string[];
  /** Values in each bucket, not cumulative: one observation then touches one cell. Doubles in place, so adding allocates nothing. */
  readonly #counts: Float64Array;
  readonly #sum = new Float64Array(1);

  constructor({ bounds, labels }: Buckets) {
    this.#bounds = bounds;
    this.#labels = labels;
    this.#counts = new Float64Array(labels.length);
  }

  observe(value: number): void {
    if (!Number.isFinite(value)) return;
    const bounds = this.#bounds;
    let index = 0;
    // Of some sixteen bounds, most values stop at one of the first; a binary search would not be faster.
    while (index < bounds.length && value > (bounds[index] as number)) index++;
    this.#counts[index]! += 1;
    this.#sum[0]! += value;
  }

  format(name: string, labels: string): string {
    const before = labels === '' ? '' : `${labels},`;
    let text = '';
    let count = 0;
    for (const [index, label] of this.#labels.entries()) {
      count += this.#counts[index] ?? 0;
      text += formatLine(`${name}_bucket`, before + label, count);
    }
    return text + formatLine(`${name}_sum`, labels, this.#sum[0] ?? 0) + formatLine(`${name}_count`, labels, count);
  }
}
