/** How single values are shown: times, durations, sizes, counts, states. */
import type { ComponentChildren } from 'preact';
import { useView } from './context.ts';

/** The colours that a state can have; names are those of the tokens. */
export type Tone =
  | 'plain'
  | 'failed'
  | 'completed'
  | 'waiting'
  | 'waiting-children'
  | 'prioritized'
  | 'active'
  | 'delayed'
  | 'paused';

/** A state in a word, with a dot in its colour. */
export function Badge({ tone = 'plain', children }: { tone?: Tone; children: ComponentChildren }) {
  return <span class={`badge tone-${tone}`}>{children}</span>;
}

const STEPS: ReadonlyArray<[ms: number, unit: string]> = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1_000, 's'],
];

/** How long something took or lasts: `1 h 12 min`, `3.4 s`, `87 ms`. */
export function durationText(ms: number): string {
  const rounded = Math.max(0, Math.round(ms));
  const at = STEPS.findIndex(([step]) => rounded >= step);
  const [step = 1, unit = 'ms'] = STEPS[at] ?? [];
  if (unit === 'ms') return `${rounded} ms`;
  if (unit === 's') return `${(rounded / 1_000).toFixed(rounded < 10_000 ? 1 : 0)} s`;
  const [smallerStep = 1, smaller = ''] = STEPS[at + 1] ?? [];
  const whole = Math.floor(rounded / step);
  const rest = Math.floor((rounded % step) / smallerStep);
  return rest === 0 || whole >= 10 ? `${whole} ${unit}` : `${whole} ${unit} ${rest} ${smaller}`;
}

/** A duration; a dash when there is none. */
export function Duration({ ms }: { ms: number | undefined }) {
  return ms === undefined ? <None /> : <span class="number">{durationText(ms)}</span>;
}

/** When something was or will be, as seen from now, with the exact time in UTC as its title; a dash when it never was. */
export function Time({ at }: { at: number | undefined }) {
  const { now } = useView();
  if (at === undefined || !Number.isFinite(at) || Math.abs(at) > 8.64e15) return <None />;
  const exact = new Date(at).toISOString();
  const apart = now - at;
  const near = Math.abs(apart) < 1_000 ? 'now' : undefined;
  return (
    <time datetime={exact} title={`${exact.slice(0, 10)} ${exact.slice(11, 23)} UTC`}>
      {near ?? (apart > 0 ? `${relativeText(apart)} ago` : `in ${relativeText(-apart)}`)}
    </time>
  );
}

/** One unit is enough to know how long ago. */
function relativeText(ms: number): string {
  const [step, unit] = STEPS.find(([least]) => ms >= least) ?? [1_000, 's'];
  return `${Math.floor(ms / step)} ${unit}`;
}

/** A size: `812 B`, `4.2 kB`, `5.1 MB`. */
export function Bytes({ of: bytes }: { of: number | undefined }) {
  if (bytes === undefined) return <None />;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = bytes < 1_000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  const scaled = bytes / 1_000 ** power;
  return (
    <span class="number">{`${power === 0 || scaled >= 100 ? Math.round(scaled) : scaled.toFixed(1)} ${units[power]}`}</span>
  );
}

const NUMBERS = new Intl.NumberFormat('en-US');

/** A whole number with its thousands apart; zero is quiet. */
export function Count({ of: count }: { of: number | undefined }) {
  if (count === undefined) return <None />;
  return <span class={count === 0 ? 'number zero' : 'number'}>{NUMBERS.format(count)}</span>;
}

function None() {
  return <span class="zero">–</span>;
}
