/** Rankings made one: reciprocal rank fusion, which needs no common scale of their scores. */

/** What each place in a list brings: 1 / (constant + place), places counted from 1; over all lists together. */
export function fuseRanks<T>(lists: ReadonlyArray<readonly T[]>, constant: number): Map<T, number> {
  const ranks = new Map<T, number>();
  for (const list of lists) {
    for (const [at, item] of list.entries()) ranks.set(item, (ranks.get(item) ?? 0) + 1 / (constant + at + 1));
  }
  return ranks;
}
