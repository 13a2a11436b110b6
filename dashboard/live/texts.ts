/** Values as texts, just as the parts of view/values.tsx show them. */
export { durationText } from '../view/values.tsx';

const NUMBERS = new Intl.NumberFormat('en-US');
const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** A whole number with its thousands apart. */
export function countText(count: number): string {
  return NUMBERS.format(count);
}

/** A size: `812 B`, `4.2 kB`, `130 MB`. */
export function sizeText(bytes: number): string {
  const power = bytes < 1_000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  const scaled = bytes / 1_000 ** power;
  return `${power === 0 || scaled >= 100 ? Math.round(scaled) : scaled.toFixed(1)} ${UNITS[power]}`;
}
