/**
 * What modules need of a metrics registry; createMetrics() gives one. Types only: modules count on whatever registry they are given, and on
 * none.
 */

/** A value for each label. */
export type LabelValues<Name extends string> = Readonly<Record<Name, string>>;

/** What a metric is defined by. */
export interface MeterDefinition<Name extends string> {
  name: string;
  help: string;
  labels: readonly Name[];
  maxChildren?: number | undefined;
}

/** A metric, before its labels have values. */
export interface Bindable<Name extends string, Child> {
  labels(values: LabelValues<Name>): Child;
}

/** What only grows. */
export interface CounterChild {
  inc(n?: number): void;
}

/** What goes up and down. */
export interface GaugeChild {
  set(value: number): void;
  inc(n?: number): void;
  dec(n?: number): void;
}

/** What is counted by its size. */
export interface HistogramChild {
  observe(value: number): void;
}

/** One value of a gauge that is looked up at a scrape. */
export interface GaugeSample<Name extends string> {
  labels: LabelValues<Name>;
  value: number;
}

/** A registry of counters and histograms, which is what most modules need. */
export interface CountingRegistry {
  counter<const Name extends string>(definition: MeterDefinition<Name>): Bindable<Name, CounterChild>;
  histogram<const Name extends string>(
    definition: MeterDefinition<Name> & { buckets: readonly number[] },
  ): Bindable<Name, HistogramChild>;
}

/** One that has gauges too. */
export interface MeterRegistry extends CountingRegistry {
  gauge<const Name extends string>(
    definition: MeterDefinition<Name> & { collect?: (() => Promise<Array<GaugeSample<NoInfer<Name>>>>) | undefined },
  ): Bindable<Name, GaugeChild>;
}
