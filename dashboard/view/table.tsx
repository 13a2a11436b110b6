/** A table that becomes a list of cards on a phone, where each value has the head of its column before it. */
import type { ComponentChildren } from 'preact';
import { Empty } from './parts.tsx';

/** A column of a table. */
export interface Column<Row> {
  head: ComponentChildren;
  /** What stands before the value on a phone. Default `head`, where that is a text. */
  label?: string;
  cell: (row: Row) => ComponentChildren;
  /** Numbers stand at the end. */
  align?: 'end';
  /** A text to be read: it has more of the width than others, and stands below its head on a phone. */
  isProse?: boolean;
  /** The cell that names the row: a heading for screen readers, the title of the card on a phone. */
  isTitle?: boolean;
}

/** What a table shows. */
export interface TableParts<Row> {
  /** What the table is, for screen readers: `Queues`. */
  label: string;
  rows: readonly Row[];
  columns: ReadonlyArray<Column<Row>>;
  rowKey: (row: Row) => string;
  /** What stands there without rows. */
  empty?: ComponentChildren;
}

/**
 * @example
 * <Table label="Queues" rows={queues} rowKey={(queue) => queue.name} empty="No queue was used yet."
 *   columns={[{ head: 'Queue', isTitle: true, cell: (queue) => queue.name }, { head: 'Waiting', align: 'end', cell: (queue) => <Count of={queue.waiting} /> }]} />
 */
export function Table<Row>({ label, rows, columns, rowKey, empty = 'Nothing is here.' }: TableParts<Row>) {
  if (rows.length === 0) return <Empty>{empty}</Empty>;
  return (
    <div class="table" role="region" aria-label={label} tabIndex={0}>
      <table>
        <caption class="unseen">{label}</caption>
        <thead>
          <tr>
            {columns.map((column, index) => (
              <th key={index} scope="col" class={column.align}>
                {column.head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={rowKey(row)}>{columns.map((column, index) => cellOf(column, row, index))}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function cellOf<Row>({ head, label, cell, align, isProse, isTitle = false }: Column<Row>, row: Row, index: number) {
  const kind = isProse ? 'prose' : align;
  if (isTitle)
    return (
      <th key={index} scope="row" class={kind}>
        {cell(row)}
      </th>
    );
  return (
    <td key={index} class={kind} data-label={label ?? (typeof head === 'string' ? head : undefined)}>
      {cell(row)}
    </td>
  );
}
