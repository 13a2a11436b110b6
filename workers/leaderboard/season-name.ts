/**
 * How a season is called that a schedule closes: by the day, week or month that is just over.
 *
 * The moment is half a period before the tick of the schedule, or before the enqueue of a job that has none. So a run that is early or late, by
 * clocks that differ or after an outage, names the same season.
 */
import type { Every, JobFacts } from 'millrace';

const DAY_MS = 86_400_000;
const HALF_MS = { day: DAY_MS / 2, week: 3.5 * DAY_MS, month: 15 * DAY_MS } as const satisfies Record<Every, number>;

/** The ids of a schedule's runs tell for when they are, however late they come. */
const TICK = /@(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d(?:\.\d{3})?)Z$/;

/** `2026-11-20`, `2026-W47` or `2026-11`. */
export function seasonName(
  { every, timeZone }: { every: Every; timeZone: string },
  { id, enqueuedAt }: Pick<JobFacts, 'id' | 'enqueuedAt'>,
): string {
  const tickMs = Date.parse(id.match(TICK)?.[0].replace(TICK, '$1-$2-$3T$4:$5:$6Z') ?? '');
  const day = dayIn(timeZone, (Number.isNaN(tickMs) ? enqueuedAt : tickMs) - HALF_MS[every]);
  if (every === 'day') return day;
  return every === 'month' ? day.slice(0, 7) : weekOf(day);
}

function dayIn(timeZone: string, atMs: number): string {
  const form = { timeZone, year: 'numeric', month: '2-digit', day: '2-digit' } as const;
  const parts = new Intl.DateTimeFormat('en', form).formatToParts(atMs);
  return (['year', 'month', 'day'] as const).map((type) => parts.find((part) => part.type === type)?.value).join('-');
}

/** By ISO 8601: a week is of the year that its Thursday is in. */
function weekOf(day: string): string {
  const date = new Date(`${day}T00:00:00Z`);
  const thursday = date.getTime() + (3 - ((date.getUTCDay() + 6) % 7)) * DAY_MS;
  const year = new Date(thursday).getUTCFullYear();
  const week = 1 + Math.floor((thursday - Date.UTC(year, 0, 1)) / (7 * DAY_MS));
  return `${year}-W${String(week).padStart(2, '0')}`;
}
