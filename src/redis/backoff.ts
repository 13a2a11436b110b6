/** How long to wait before the next attempt to connect. */

const FIRST_MS = 50;
const LONGEST_MS = 2_000;

/**
 * Doubles from 50 ms to at most 2 s; of that a random half to whole, so that a fleet which lost one server at one moment
 * does not come back at one moment.
 *
 * @param attempt 1 for the first attempt after the loss.
 */
export function reconnectDelayMs(attempt: number, random: () => number = Math.random): number {
  const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt - 1, 16));
  return Math.round(longest * (0.5 + random() / 2));
}
