/**
 * When a value that is still fresh is loaded again: XFetch, as the paper has it (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic
 * Cache Stampede Prevention, VLDB 2015).
 *
 * A read loads early iff now - delta * beta * ln(rand) >= expiry, where delta is how long the last load took. At a time g before the expiry
 * that comes true with the probability e^(-g / (beta * delta)): a value that is slow to load is loaded earlier, one that is asked for often too,
 * and delta must not be anything else (the value's age, say), or loads come many times as often.
 */

/** The greatest -ln(rand) of a 53 bit random number: before that many deltas before its end a value is never loaded early. */
const LONGEST_DRAW = 53 * Math.LN2;

/**
 * Whether this read should load the value again, although it is fresh for `remainingMs` more.
 *
 * @param random Above 0, at most 1.
 */
export function isDueEarly(remainingMs: number, deltaMs: number, beta: number, random: number): boolean {
  return remainingMs + deltaMs * beta * Math.log(random) <= 0;
}

/** How long before the value's end the first early load can come. */
export function earlyWindowMs(deltaMs: number, beta: number): number {
  return deltaMs * beta * LONGEST_DRAW;
}

/** A random number above 0, at most 1: its logarithm is finite. */
export function drawRandom(): number {
  return 1 - Math.random();
}
