/**
 * A small registry of Prometheus metrics.
 *
 * Promise: counting costs nanoseconds once a child is bound (see children.ts), and a scrape always has an answer: what
 * a collector cannot find in time is missing from it, and `millrace_scrape_failures_total{collector}` says so. Everything
 * is bounded; `millrace_metric_overflow_total{metric}` counts what there was no room for.
 * Redis down: nothing here talks to Redis; a collector that does fails, and its metric is missing until it is back.
 */
import { z } from 'zod';
import { withDeadline } from '../clock.ts';
import type { Duration } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import { silentLogger, type Logger } from '../log.ts';
import { checkOptions, durationOption } from '../schema.ts';
import {
  CounterChild,
  createBuckets,
  GaugeChild,
  HistogramChild,
  type Child,
  type Counter,
  type Gauge,
  type Histogram,
} from './children.ts';
import { BUCKET_LABEL, LABEL_NAME, METRIC_NAME, seriesNames } from './exposition.ts';
import { RegisteredMetric, type CheckedDefinition, type Collect, type Metric } from './metric.ts';

export type { Counter, Gauge, Histogram } from './children.ts';
export type { Collect, LabelValues, Metric, Sample } from './metric.ts';

/** Options of the registry. */
export interface MetricsOptions {
  /** Labels that stand at every value, such as the name of the service. Default none. */
  defaultLabels?: Readonly<Record<string, string>> | undefined;
  /** How long a scrape waits for a collector. Default 2 s. Longer than the scraper's own timeout (Prometheus: 10 s), and one slow collector spoils the scrape. */
  collectWithin?: Duration | undefined;
  /** How many combinations of labels a metric may have, unless its definition says otherwise. Default 2,000; those beyond share one with the values `other`. */
  maxChildren?: number | undefined;
  /** Told when a collector begins to fail, and when it works again. Default: nothing is logged. */
  log?: Logger | undefined;
}

/** What every metric is defined by. */
export interface MetricDefinition<Name extends string> {
  /** By convention with the unit last, in base units: `_seconds`, `_bytes`, and `_total` for a counter. */
  name: string;
  /** One sentence for people. */
  help: string;
  /** The names of its labels. Default none. */
  labels?: readonly Name[] | undefined;
  /** How many combinations of labels it may have. Default: the registry's. */
  maxChildren?: number | undefined;
}

/** A counter or a gauge. */
export interface ValueDefinition<Name extends string> extends MetricDefinition<Name> {
  /** Finds the values at scrape time; nothing can be bound then. */
  collect?: Collect<NoInfer<Name>> | undefined;
}

/** A histogram. */
export interface HistogramDefinition<Name extends string> extends MetricDefinition<Name> {
  /** Upper bounds, ascending; +Inf is added. */
  buckets: readonly number[];
}

/** A registry. The same definition given twice gives the same metric; another one of the same name is an error. */
export interface Metrics {
  /** @throws MillraceError OPTIONS_INVALID */
  counter<const Name extends string = never>(definition: ValueDefinition<Name>): Metric<Counter, Name>;
  /** @throws MillraceError OPTIONS_INVALID */
  gauge<const Name extends string = never>(definition: ValueDefinition<Name>): Metric<Gauge, Name>;
  /** @throws MillraceError OPTIONS_INVALID */
  histogram<const Name extends string = never>(definition: HistogramDefinition<Name>): Metric<Histogram, Name>;
  /** All metrics as text for Prometheus. Collectors run side by side, once for all who ask at the same time. Never rejects. */
  render(): Promise<string>;
}

const COLLECT_WITHIN_MS = 2_000;
const MAX_CHILDREN = 2_000;
const MAX_BUCKETS = 200;
/** For what grows with the number of metrics, which code defines and not data. */
const UNLIMITED = Number.MAX_SAFE_INTEGER;

const labelName = z.string().regex(LABEL_NAME, 'expected letters, digits and _, not beginning with a digit or __');
const maxChildren = z.int().positive().optional();

const optionsSchema = z.strictObject({
  defaultLabels: z.record(labelName, z.string()).optional(),
  collectWithin: durationOption.optional(),
  maxChildren,
  log: z.custom<Logger>((value) => typeof value === 'object' && value !== null, 'expected a logger').optional(),
});

const definitionFields = {
  name: z.string().regex(METRIC_NAME, 'expected letters, digits, _ and :, not beginning with a digit'),
  help: z.string().min(1),
  labels: z
    .array(labelName)
    .refine((names) => new Set(names).size === names.length, 'expected each label once')
    .refine((names) => !names.includes(BUCKET_LABEL), `expected labels other than ${BUCKET_LABEL}`)
    .optional(),
  maxChildren,
};

const valueSchema = z.strictObject({
  ...definitionFields,
  collect: z.custom<Collect<string>>((value) => typeof value === 'function', 'expected a function').optional(),
});

const histogramSchema = z.strictObject({
  ...definitionFields,
  buckets: z
    .array(z.number())
    .min(1)
    .max(MAX_BUCKETS)
    .refine(
      (bounds) => bounds.every((bound, index) => index === 0 || bound > bounds[index - 1]!),
      'expected ascending bounds',
    ),
});

/**
 * A registry without metrics but its own two.
 *
 * @example
 * const metrics = createMetrics({ defaultLabels: { service: 'shop' } });
 * const sent = metrics.counter({ name: 'mails_sent_total', help: 'Mails that were sent.', labels: ['template'] });
 * const welcomes = sent.labels({ template: 'welcome' }); // bound once
 * welcomes.inc();
 * app.use(metricsRouter(metrics));
 * @throws MillraceError OPTIONS_INVALID
 */
export function createMetrics(options: MetricsOptions = {}): Metrics {
  return new Registry(checkOptions(optionsSchema, options, 'createMetrics'));
}

class Registry implements Metrics {
  readonly #log: Logger;
  readonly #collectWithinMs: number;
  readonly #maxChildren: number;
  readonly #defaultLabels: ReadonlyArray<[name: string, value: string]>;
  readonly #metrics = new Map<string, RegisteredMetric<Child>>();
  /** The metric that writes lines of a name. */
  readonly #owners = new Map<string, string>();
  readonly #failing = new Set<string>();
  readonly #failures: Metric<Counter, 'collector'>;
  readonly #overflows: Metric<Counter, 'metric'>;
  #collecting: Promise<unknown> | undefined;

  constructor(options: z.output<typeof optionsSchema>) {
    this.#log = options.log ?? silentLogger;
    this.#collectWithinMs = options.collectWithin ?? COLLECT_WITHIN_MS;
    this.#maxChildren = options.maxChildren ?? MAX_CHILDREN;
    this.#defaultLabels = Object.entries(options.defaultLabels ?? {});
    this.#failures = this.counter({
      name: 'millrace_scrape_failures_total',
      help: 'Scrapes at which a collector failed or was too late, so that its metric is missing from them.',
      labels: ['collector'],
      maxChildren: UNLIMITED,
    });
    this.#overflows = this.counter({
      name: 'millrace_metric_overflow_total',
      help: 'Label combinations that a metric had no room for and counted as "other", or left out.',
      labels: ['metric'],
      maxChildren: UNLIMITED,
    });
  }

  counter(definition: ValueDefinition<string>): Metric<Counter, string> {
    const { collect, ...rest } = checkOptions(valueSchema, definition, ownerOf('counter', definition));
    const checked = this.#complete('counter', { ...rest, collect });
    // Collected values are absolute, so they are set, which a counter's child cannot do.
    if (collect) return this.#register(checked, () => new GaugeChild());
    return this.#register(checked, () => new CounterChild());
  }

  gauge(definition: ValueDefinition<string>): Metric<Gauge, string> {
    const checked = checkOptions(valueSchema, definition, ownerOf('gauge', definition));
    return this.#register(this.#complete('gauge', checked), () => new GaugeChild());
  }

  histogram(definition: HistogramDefinition<string>): Metric<Histogram, string> {
    const checked = checkOptions(histogramSchema, definition, ownerOf('histogram', definition));
    const buckets = createBuckets(checked.buckets);
    return this.#register(this.#complete('histogram', checked), () => new HistogramChild(buckets));
  }

  async render(): Promise<string> {
    this.#collecting ??= this.#collectAll().finally(() => (this.#collecting = undefined));
    await this.#collecting;
    let text = '';
    for (const metric of this.#metrics.values()) text += metric.format();
    return text;
  }

  #complete(
    type: CheckedDefinition['type'],
    definition: Omit<CheckedDefinition, 'type' | 'labels' | 'maxChildren'> & {
      labels?: readonly string[] | undefined;
      maxChildren?: number | undefined;
    },
  ): CheckedDefinition {
    const { labels = [], maxChildren: limit = this.#maxChildren } = definition;
    return { ...definition, type, labels, maxChildren: limit };
  }

  #register<ChildType extends Child>(
    definition: CheckedDefinition,
    create: () => ChildType,
  ): RegisteredMetric<ChildType> {
    const { name, type, labels } = definition;
    const known = this.#metrics.get(name);
    // A metric of the same type has children of the same class.
    if (known && isSame(known.definition, definition)) return known as RegisteredMetric<ChildType>;
    if (known) throw invalid(name, 'it is there already, with another definition');
    const names = seriesNames(name, type);
    const owner = names.map((series) => this.#owners.get(series)).find((other) => other !== undefined);
    if (owner !== undefined) throw invalid(name, `its lines would be taken for those of ${owner}`);
    const twice = this.#defaultLabels.find(([label]) => label === BUCKET_LABEL || labels.includes(label));
    if (twice) throw invalid(name, `label ${twice[0]} is among the default labels`);

    const metric = new RegisteredMetric(definition, create, {
      defaultLabels: this.#defaultLabels,
      onOverflow: (overflown) => this.#overflows.labels({ metric: overflown }).inc(),
    });
    for (const series of names) this.#owners.set(series, name);
    this.#metrics.set(name, metric);
    return metric;
  }

  async #collectAll(): Promise<void> {
    await Promise.all([...this.#metrics.values()].map((metric) => this.#collect(metric)));
  }

  async #collect(metric: RegisteredMetric<Child>): Promise<void> {
    const { name, collect } = metric.definition;
    if (!collect) return;
    try {
      const late = (): Error => new Error(`no values within ${this.#collectWithinMs} ms`);
      const samples = await withDeadline((async () => collect())(), this.#collectWithinMs, late);
      metric.replace(samples, write);
      if (this.#failing.delete(name)) this.#log.info({ metric: name }, `metric ${name} is collected again`);
    } catch (error) {
      // No value is better than an old one, which would look like a new one.
      metric.replace([], write);
      this.#failures.labels({ collector: name }).inc();
      if (this.#failing.has(name)) return;
      this.#failing.add(name);
      this.#log.warn({ err: error, metric: name }, `metric ${name} cannot be collected and is missing until it can be`);
    }
  }
}

/** Only metrics of gauge children have collectors. */
function write(child: Child, value: number): void {
  (child as GaugeChild).set(value);
}

function isSame(left: CheckedDefinition, right: CheckedDefinition): boolean {
  return left.collect === right.collect && asText(left) === asText(right);
}

function asText({ type, help, labels, buckets, maxChildren: limit }: CheckedDefinition): string {
  return JSON.stringify([type, help, labels, buckets, limit]);
}

function ownerOf(type: string, definition: { name?: unknown } | undefined): string {
  const name = definition?.name;
  return typeof name === 'string' && METRIC_NAME.test(name) ? `metric ${name}` : type;
}

function invalid(name: string, reason: string): MillraceError {
  return new MillraceError('OPTIONS_INVALID', `metric ${name}: ${reason}`, { metric: name });
}
