/**
 * Tables for a terminal: columns stand below each other whatever the letters are, and a table that is wider than the terminal is cut, or told
 * row by row.
 */
import { stripVTControlCharacters } from 'node:util';

/** A column of a table. */
export interface Column<Row> {
  title: string;
  of: (row: Row) => string | number | undefined;
  /** Numbers stand on the right. Default left. */
  align?: 'right';
  /** The narrowest that it may be cut to where the terminal is narrow. Default: it is not cut. */
  cutTo?: number;
  /** Left out where the terminal is narrow, the last such column first. */
  canGo?: boolean;
}

const GAP = '  ';
const ELLIPSIS = '…';
const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
/** Letters of East Asia, and pictures: two columns each. */
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u4dbf\u4e00-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\ufe0f/u;
/** Marks that stand on the letter before, and what is not seen. */
const NO_WIDTH = /^[\p{Mark}\p{Default_Ignorable_Code_Point}]+$/u;
// eslint-disable-next-line no-control-regex -- these are what is looked for
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

/** The text without what would move the cursor, change colours or turn the line around: jobs and errors are written by strangers. Line ends stay. */
export function printable(text: string): string {
  return text.replaceAll(CONTROL, (sign) => `\\u${(sign.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`);
}

/** Likewise, in one line. */
export function oneLine(text: string): string {
  return printable(text.replaceAll(/\s+/g, ' ').trim());
}

/** How many columns of a terminal the text takes. */
export function widthOf(text: string): number {
  let width = 0;
  for (const { segment } of graphemes.segment(stripVTControlCharacters(text))) {
    if (!NO_WIDTH.test(segment)) width += WIDE.test(segment) ? 2 : 1;
  }
  return width;
}

/** The beginning of the text that fits. */
export function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let kept = '';
  let left = width - 1;
  for (const { segment } of graphemes.segment(text)) {
    left -= widthOf(segment);
    if (left < 0) break;
    kept += segment;
  }
  return width < 1 ? '' : kept + ELLIPSIS;
}

/** The text, filled up with spaces. */
export function pad(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const spaces = ' '.repeat(Math.max(0, width - widthOf(text)));
  return align === 'right' ? spaces + text : text + spaces;
}

/**
 * The lines of a table; the first one has the titles.
 *
 * @param columns of the terminal; Infinity where nobody looks, so that a program that reads it gets all
 */
export function table<Row>(rows: readonly Row[], fields: ReadonlyArray<Column<Row>>, columns = Infinity): string[] {
  const cells = rows.map((row) => fields.map(({ of }) => oneLine(String(of(row) ?? ''))));
  const wanted = fields.map(({ title }, at) => Math.max(widthOf(title), ...cells.map((row) => widthOf(row[at] ?? ''))));
  const widths = fit(wanted, fields, columns);
  const extra = fields.findLastIndex(({ canGo }) => canGo === true);
  if (!widths && extra >= 0) return table(rows, fields.toSpliced(extra, 1), columns);
  if (!widths) return cells.flatMap((row, at) => [...(at === 0 ? [] : ['']), ...asLines(row, fields, columns)]);
  const line = (row: readonly string[]): string =>
    row
      .map((cell, at) => pad(cut(cell, widths[at] ?? 0), widths[at] ?? 0, fields[at]?.align))
      .join(GAP)
      .trimEnd();
  return [fields.map(({ title }) => title), ...cells].map(line);
}

/** The widths that fit the terminal, the widest columns cut first; undefined when none do. */
function fit<Row>(
  wanted: readonly number[],
  fields: ReadonlyArray<Column<Row>>,
  columns: number,
): number[] | undefined {
  const widths = [...wanted];
  let over = widths.reduce((sum, width) => sum + width, GAP.length * (widths.length - 1)) - columns;
  while (over > 0) {
    const room = widths.map((width, at) => width - (fields[at]?.cutTo ?? width));
    const at = widths.reduce(
      (best, width, place) => ((room[place] ?? 0) > 0 && width > (widths[best] ?? 0) ? place : best),
      -1,
    );
    if (at < 0) return undefined;
    widths[at] = (widths[at] ?? 0) - 1;
    over -= 1;
  }
  return widths;
}

/** A row of a table that does not fit: a line a column, without what is empty. */
function asLines<Row>(row: readonly string[], fields: ReadonlyArray<Column<Row>>, columns: number): string[] {
  const width = Math.max(...fields.map(({ title }) => widthOf(title)));
  return row.flatMap((cell, at) =>
    cell === '' ? [] : [cut(`${pad(fields[at]?.title ?? '', width)}${GAP}${cell}`, columns)],
  );
}
