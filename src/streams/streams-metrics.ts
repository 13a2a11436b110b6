/** What streams need of a metrics registry; createMetrics() gives one. */

/** A value for each label. */
type Values<Name extends string> = Readonly<Record<Name, string>>;

interface Definition<Name extends string> {
  name: string;
  help: string;
  labels: readonly Name[];
  maxChildren: number;
}

interface Bindable<Name extends string, Child> {
  labels(values: Values<Name>): Child;
}

interface CounterChild {
  inc(n?: number): void;
}

interface GaugeChild {
  set(value: number): void;
}

interface HistogramChild {
  observe(value: number): void;
}

/** What is needed of a metrics registry. */
export interface StreamsMetricsRegistry {
  counter<const Name extends string>(definition: Definition<Name>): Bindable<Name, CounterChild>;
  gauge<const Name extends string>(definition: Definition<Name>): Bindable<Name, GaugeChild>;
  histogram<const Name extends string>(
    definition: Definition<Name> & { buckets: readonly number[] },
  ): Bindable<Name, HistogramChild>;
}
