/** A report of numbers, for the tests and for a process that is killed. */
import { report, type AnyReport } from '../../workers/index.ts';

/** A row of it. */
export interface NumberRow {
  id: number;
  text: string;
}

/** The report `numbers`: so many rows, before each of which it may be waited. Goes on behind `after`. */
export function numbers(
  count: number,
  before: (id: number, after: number) => Promise<void> | void = () => undefined,
): Record<string, AnyReport> {
  return {
    numbers: report<NumberRow>({
      async *rows(_params, { after }) {
        const from = typeof after === 'number' ? after : 0;
        for (let id = from + 1; id <= count; id++) {
          await before(id, from);
          yield { id, text: `number ${id}` };
        }
      },
      cursor: ({ id }) => id,
      columns: ['id', 'text'],
    }),
  };
}

/** What its file must be. */
export function linesOf(count: number): string {
  return `id,text\r\n${Array.from({ length: count }, (_, index) => `${index + 1},number ${index + 1}\r\n`).join('')}`;
}
