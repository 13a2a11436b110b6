/** Measures two sides in one interleaved run, because a machine's speed drifts between runs but seldom within a second. */

/** One line of the result. */
export interface Result {
  case: string;
  /** Above 1 means that ours is better, also where less is better. Null without the other side. */
  ratio: number | null;
  ours: number;
  theirs: number | null;
  unit: string;
}

/** One side of a case: does its work and gives the figure of one round. */
export type Side = () => Promise<number>;

/** A case of a topic. */
export interface Case {
  name: string;
  unit: string;
  /** Whether a smaller figure is better, as with times and bytes. Default false. */
  lessIsBetter?: boolean;
  /** Whether `ours` of the result carries what ours is beyond theirs, as with counts and bytes that have a limit. Default false. */
  isExtra?: boolean;
  /** What the other side is, in words. */
  theirsIs: string;
  rounds: { quick: number; full: number };
  ours: Side;
  /** Undefined when it is a library that is not installed. */
  theirs: Side | undefined;
}

/**
 * Runs A B B A A B B A ..., after one round that warms up both. The ratio is the median of the pairs' ratios: what slows the machine
 * for longer than a pair slows both sides of it alike.
 */
export async function measure(topic: string, item: Case, isQuick: boolean): Promise<Result> {
  const rounds = isQuick ? item.rounds.quick : item.rounds.full;
  const ours: number[] = [];
  const theirs: number[] = [];
  await item.ours();
  await item.theirs?.();
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) ours.push(await item.ours());
    if (item.theirs) theirs.push(await item.theirs());
    if (round % 2 === 1) ours.push(await item.ours());
  }
  const ratios = ours.map((mine, pair) =>
    item.lessIsBetter ? (theirs[pair] ?? 0) / mine : mine / (theirs[pair] ?? 1),
  );
  const extras = ours.map((mine, pair) => mine - (theirs[pair] ?? 0));
  return {
    case: `${topic}.${item.name}`,
    ratio: item.theirs ? rounded(median(ratios)) : null,
    ours: rounded(median(item.isExtra ? extras : ours)),
    theirs: item.theirs ? rounded(median(theirs)) : null,
    unit: item.unit,
  };
}

/** Calls a second of `count` calls, `inFlight` at a time. */
export async function callsPerSecond(count: number, inFlight: number, call: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  let left = count;
  const lane = async (): Promise<void> => {
    while (left-- > 0) await call();
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return (count / (performance.now() - start)) * 1_000;
}

/** The middle one of the values. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

function rounded(value: number): number {
  return Number(value.toPrecision(Math.abs(value) < 1_000 ? 3 : 4));
}
