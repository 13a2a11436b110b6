/** How rows are written: CSV as RFC 4180 has it, or a JSON object a line. */

/** A column: a field of the row, or what is made of the row. */
export type Column<Row> = string | { readonly name: string; readonly value: (row: Row) => unknown };

/** Which rows become text, and how. */
export interface Format<Row> {
  /** What the file begins with. */
  readonly head: string;
  line(row: Row): string;
  /** Another shape is another file: what an older version has begun is not gone on with. */
  readonly shape: string;
}

/** Rules of a format. */
export interface FormatRules<Row> {
  readonly format: 'csv' | 'jsonl';
  readonly columns: ReadonlyArray<Column<Row>> | undefined;
  readonly guardFormulas: boolean;
  readonly bom: boolean;
}

/** What a spreadsheet takes for a formula, also behind spaces. */
const FORMULA = /^\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]|^[\t\r\n]/;
const NEEDS_QUOTES = /[",;\r\n\t]|^\s|\s$/;

/** The format with these rules. CSV needs columns: their order is the file's. */
export function formatOf<Row>({ format, columns, guardFormulas, bom }: FormatRules<Row>): Format<Row> {
  const all = columns?.map((column) =>
    typeof column === 'string'
      ? { name: column, value: (row: Row): unknown => (row as Record<string, unknown>)[column] }
      : column,
  );
  const names = all?.map(({ name }) => name);
  const shape = JSON.stringify([format, names ?? null, guardFormulas, bom]);
  if (format === 'jsonl') {
    const asked = (row: Row): unknown =>
      all ? Object.fromEntries(all.map(({ name, value }) => [name, value(row)])) : row;
    return { head: '', line: (row) => `${JSON.stringify(asked(row), withBigInts)}\n`, shape };
  }
  const line = (values: readonly unknown[]): string =>
    `${values.map((value) => csvField(value, guardFormulas)).join(',')}\r\n`;
  return {
    head: `${bom ? '\uFEFF' : ''}${line(names ?? [])}`,
    line: (row) => line((all ?? []).map(({ value }) => value(row))),
    shape,
  };
}

/**
 * A value as a field of CSV. With the guard a text that a spreadsheet would take for a formula, and run when somebody opens the file, begins with
 * an apostrophe; numbers stay numbers.
 */
export function csvField(value: unknown, guardFormulas: boolean): string {
  const text = textOf(value);
  const isRisky = guardFormulas && typeof value !== 'number' && typeof value !== 'bigint' && FORMULA.test(text);
  const guarded = isRisky ? `'${text}` : text;
  return NEEDS_QUOTES.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
}

function textOf(value: unknown): string {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? '' : value.toISOString();
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  return value === null ? '' : (JSON.stringify(value, withBigInts) ?? '');
}

/** As texts: JSON has no number of that size. */
function withBigInts(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
