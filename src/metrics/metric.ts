/**
 * One metric: its definition, and a child for each combination of labels that was bound or collected.
 *
 * Bounded: beyond `maxChildren` combinations all further ones share one child whose label values are `other`, so that a
 * label which turns out to be an id costs a metric and not the process. Of collected values the surplus is left out, since
 * values of different things cannot be put into one.
 */
import { describeValue, MillraceError } from '../errors.ts';
import type { Child } from './children.ts';
import { formatHeader, formatLabels, type MetricType } from './exposition.ts';

/** A value for each label of a metric. */
export type LabelValues<Name extends string> = Readonly<Record<Name, string>>;

/** One value that a collector found. */
export interface Sample<Name extends string> {
  readonly labels: LabelValues<Name>;
  readonly value: number;
}

/** Finds all values of a metric at scrape time; those of the last scrape are forgotten. */
export type Collect<Name extends string> = () => ReadonlyArray<Sample<Name>> | Promise<ReadonlyArray<Sample<Name>>>;

/** A metric of which children are bound. */
export interface Metric<ChildType, Name extends string> {
  /**
   * The child for these label values, the same one each time. This looks it up, so bind it once and keep it.
   *
   * @throws MillraceError OPTIONS_INVALID when labels are missing, unknown or not strings.
   */
  labels(values: LabelValues<Name>): ChildType;
}

/** What a metric is made of, checked. */
export interface CheckedDefinition {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly labels: readonly string[];
  readonly buckets?: readonly number[] | undefined;
  readonly maxChildren: number;
  readonly collect?: Collect<string> | undefined;
}

/** What a metric asks of its registry. */
interface Surroundings {
  readonly defaultLabels: ReadonlyArray<readonly [name: string, value: string]>;
  /** Called for each combination of labels that there was no room for. */
  onOverflow(name: string): void;
}

interface Entry<ChildType> {
  readonly labels: string;
  readonly child: ChildType;
}

const OVERFLOW_VALUE = 'other';

/** A metric of a registry, with what was counted so far. */
export class RegisteredMetric<ChildType extends Child> implements Metric<ChildType, string> {
  readonly definition: CheckedDefinition;
  readonly #create: () => ChildType;
  readonly #surroundings: Surroundings;
  #entries = new Map<string, Entry<ChildType>>();

  constructor(definition: CheckedDefinition, create: () => ChildType, surroundings: Surroundings) {
    this.definition = definition;
    this.#create = create;
    this.#surroundings = surroundings;
    // A metric without labels has one value, which is there from the start: a counter that first shows up with 1 looks
    // to Prometheus as if nothing had happened.
    if (definition.labels.length === 0 && !definition.collect) this.labels({});
  }

  labels(values: LabelValues<string>): ChildType {
    const { name, labels, maxChildren, collect } = this.definition;
    if (collect) throw this.#refusal('its values are collected at scrape time, so none can be bound');
    const ordered = this.#order(values);
    const known = this.#entries.get(keyOf(ordered));
    if (known) return known.child;
    if (this.#entries.size < maxChildren) return this.#add(this.#entries, ordered);
    this.#surroundings.onOverflow(name);
    const other = labels.map(() => OVERFLOW_VALUE);
    return this.#entries.get(keyOf(other))?.child ?? this.#add(this.#entries, other);
  }

  /** Puts the samples in place of all values; nothing changes when one of them is refused. */
  replace(samples: ReadonlyArray<Sample<string>>, write: (child: ChildType, value: number) => void): void {
    const entries = new Map<string, Entry<ChildType>>();
    for (const { labels, value } of samples) {
      if (typeof value !== 'number') throw this.#refusal(`expected a number, got ${describeValue(value)}`);
      const ordered = this.#order(labels);
      const known = entries.get(keyOf(ordered));
      if (known) write(known.child, value);
      else if (entries.size < this.definition.maxChildren) write(this.#add(entries, ordered), value);
      else this.#surroundings.onOverflow(this.definition.name);
    }
    this.#entries = entries;
  }

  format(): string {
    const { name, type, help } = this.definition;
    let text = formatHeader(name, type, help);
    for (const { child, labels } of this.#entries.values()) text += child.format(name, labels);
    return text;
  }

  #add(entries: Map<string, Entry<ChildType>>, ordered: readonly string[]): ChildType {
    const own = this.definition.labels.map((label, index) => [label, ordered[index] ?? ''] as const);
    const labels = formatLabels([...this.#surroundings.defaultLabels, ...own]);
    const child = this.#create();
    entries.set(keyOf(ordered), { labels, child });
    return child;
  }

  /** The values in the order of the definition. */
  #order(values: LabelValues<string>): string[] {
    const { labels } = this.definition;
    const unknown = Object.keys(values).find((label) => !labels.includes(label));
    if (unknown !== undefined)
      throw this.#refusal(`it has no label ${unknown}, only ${labels.join(', ') || 'none at all'}`);
    return labels.map((label) => {
      const value: unknown = values[label];
      if (typeof value === 'string') return value;
      throw this.#refusal(`label ${label}: expected string, got ${describeValue(value)}`);
    });
  }

  #refusal(reason: string): MillraceError {
    const { name } = this.definition;
    return new MillraceError('OPTIONS_INVALID', `metric ${name}: ${reason}`, { metric: name });
  }
}

/** Different values never give the same key, whatever stands in them. */
function keyOf(ordered: readonly string[]): string {
  return JSON.stringify(ordered);
}
