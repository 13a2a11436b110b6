/** What commands print: facts on standard output, for people or as JSON; all else on standard error. */
import { formatMs, systemClock } from '../index.ts';
import { printable, table, type Column } from './table.ts';

/** Prints one thing, as a JSON document or in lines for people. */
export function say<T>(json: string | boolean | undefined, value: T, lines: (value: T) => string[]): number {
  console.log(json === true ? jsonOf(value, 2) : printable(lines(value).join('\n')));
  return 0;
}

/** JSON that no terminal obeys: what JSON.stringify() leaves as it is, such as an old escape sign, is escaped as JSON has it. */
export function jsonOf(value: unknown, indent?: number): string {
  return printable(JSON.stringify(value ?? null, undefined, indent));
}

/** Prints a list: as JSON a line each, so that a long one can be cut and read while it comes; for people a table, or why there is none. */
export function sayList<Row>(
  json: string | boolean | undefined,
  rows: readonly Row[],
  { columns, none }: { columns: ReadonlyArray<Column<Row>>; none: string },
): number {
  if (json === true) for (const row of rows) console.log(jsonOf(row));
  else console.log(rows.length === 0 ? none : table(rows, columns, terminalColumns()).join('\n'));
  return 0;
}

/** Something that is not the answer: a hint, what was left out, what went wrong. */
export function note(line: string): void {
  console.error(printable(line));
}

/** How wide the terminal is; without one, and for one that does not tell, there is no end. */
export function terminalColumns(stream: NodeJS.WriteStream = process.stdout): number {
  return (stream.isTTY && stream.columns) || Infinity;
}

/** A moment, for people. */
export function at(ms: number): string {
  return new Date(ms).toISOString();
}

/** How long ago a moment was. */
export function ago(ms: number | undefined): string {
  return ms === undefined ? '' : formatMs(Math.max(0, systemClock.wallMs() - ms));
}

/** How long something takes; nothing when it is not known. */
export function duration(ms: number | undefined): string {
  return ms === undefined ? '' : formatMs(ms);
}

/** Of a number, what is worth a look: nothing for 0. */
export function some(count: number): string {
  return count === 0 ? '' : String(count);
}
