/**
 * When the offset of a time zone changes, from the data that Node brings along.
 *
 * A zone is a row of spans with one offset each. What a clock on the wall shows twice, or never, lies where two of them meet.
 */

/** A time during which the offset of a zone stays the same. */
export interface Span {
  /** The offset, in ms east of UTC. */
  readonly offsetMs: number;
  /** When it began, and which offset was there before; undefined when that is too long ago to matter. */
  readonly began: { readonly atMs: number; readonly beforeMs: number } | undefined;
  /** The first ms that is no longer known to be of the span. */
  readonly untilMs: number;
}

const DAY_MS = 86_400_000;
const WEEK_MS = 7 * DAY_MS;
/** How far ahead a span is followed; the next one takes over from there. */
const REACH_MS = 400 * DAY_MS;
const SPANS_KEPT = 8;
const OFFSET = /^GMT(?:([+-])(\d{2}):(\d{2})(?::(\d{2}))?)?$/;

const zones = new Map<string, Zone>();

/** The zone of that name. To make one takes a while; there are some 600 names. @throws RangeError for a zone that does not exist. */
export function zoneOf(name: string): Zone {
  const known = zones.get(name);
  if (known) return known;
  const zone = new Zone(name);
  zones.set(name, zone);
  return zone;
}

/** The spans of one zone. */
export class Zone {
  readonly #format: Intl.DateTimeFormat;
  readonly #known: Array<{ fromMs: number; span: Span }> = [];

  /** @throws RangeError for a zone that does not exist. */
  constructor(name: string) {
    this.#format = new Intl.DateTimeFormat('en-US', { timeZone: name, timeZoneName: 'longOffset' });
  }

  /** The span that has the moment. */
  spanAt(atMs: number): Span {
    const known = this.#known.find(({ fromMs, span }) => atMs >= fromMs && atMs < span.untilMs);
    if (known) return known.span;
    const offsetMs = this.offsetAt(atMs);
    const began = this.#began(atMs, offsetMs);
    const span = { offsetMs, began, untilMs: this.#ends(atMs, offsetMs) };
    this.#known.push({ fromMs: began?.atMs ?? atMs, span });
    if (this.#known.length > SPANS_KEPT) this.#known.shift();
    return span;
  }

  /** The offset at the moment, in ms east of UTC. */
  offsetAt(atMs: number): number {
    const shown = this.#format.formatToParts(atMs).find(({ type }) => type === 'timeZoneName')?.value ?? 'GMT';
    const [, sign, hours = '0', minutes = '0', seconds = '0'] = OFFSET.exec(shown) ?? [];
    const ms = (Number(hours) * 3_600 + Number(minutes) * 60 + Number(seconds)) * 1_000;
    return sign === '-' ? -ms : ms;
  }

  #began(atMs: number, offsetMs: number): Span['began'] {
    // What a change does to the clock on the wall is over after a day, even where a zone skipped one.
    const earlierMs = atMs - WEEK_MS;
    if (this.offsetAt(earlierMs) === offsetMs) return undefined;
    const changeMs = this.#change(earlierMs, atMs, offsetMs);
    return { atMs: changeMs, beforeMs: this.offsetAt(changeMs - 1) };
  }

  #ends(atMs: number, offsetMs: number): number {
    for (let probeMs = atMs + WEEK_MS; probeMs <= atMs + REACH_MS; probeMs += WEEK_MS) {
      const there = this.offsetAt(probeMs);
      if (there !== offsetMs) return this.#change(probeMs - WEEK_MS, probeMs, there);
    }
    return atMs + REACH_MS;
  }

  /** The first ms with the offset that is there at `toMs` and not at `fromMs`. */
  #change(fromMs: number, toMs: number, offsetMs: number): number {
    let before = fromMs;
    let after = toMs;
    while (after - before > 1) {
      const middle = Math.floor((before + after) / 2);
      if (this.offsetAt(middle) === offsetMs) after = middle;
      else before = middle;
    }
    return after;
  }
}
