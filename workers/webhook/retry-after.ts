/** What a receiver says of when to come back. */

/** In ms from now: of `Retry-After` as seconds or as a date, in what is left of these bounds; undefined where it says nothing that is clear. */
export function retryAfterMs(header: string | undefined, nowMs: number, mostMs: number): number | undefined {
  const text = header?.trim() ?? '';
  const wait = /^\d{1,10}$/.test(text) ? Number(text) * 1_000 : dateOf(text) - nowMs;
  return Number.isNaN(wait) ? undefined : Math.min(Math.max(wait, LEAST_MS), mostMs);
}

const LEAST_MS = 1_000;

/** Of an HTTP date, which begins with a weekday; anything else that Date would take is no such date. */
function dateOf(text: string): number {
  return /^[A-Z][a-z]{2,8},? /.test(text) ? Date.parse(text) : Number.NaN;
}
