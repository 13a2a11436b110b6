/** A list that one page cannot show: a part of it at a time, with links to the parts before and after. */
import type { Request } from 'express';
import { Pager } from '../view/components.tsx';
import { query } from '../view/input.ts';
import { linkTo } from './links.ts';

const PART_SIZE = 50;

/** What a page shows of a list. */
export interface Part<Row> {
  readonly rows: readonly Row[];
  /** From 1 on. */
  readonly page: number;
  readonly pages: number;
  /** Rows of all parts. */
  readonly total: number;
}

/** The part that `page` of the address asks for; the nearest one when there is none such. */
export function partOf<Row>(all: readonly Row[], request: Request): Part<Row> {
  const pages = Math.max(1, Math.ceil(all.length / PART_SIZE));
  const asked = Number.parseInt(query(request, 'page'), 10);
  const page = Number.isNaN(asked) ? 1 : Math.min(Math.max(1, asked), pages);
  return { rows: all.slice((page - 1) * PART_SIZE, page * PART_SIZE), page, pages, total: all.length };
}

/** Links to its neighbours; nothing where one page shows it all. `parameters` are those that the links keep. */
export function PartPager({
  part: { page, pages, total },
  of,
  path,
  parameters = {},
}: {
  part: Part<unknown>;
  /** What they are: `streams`. */
  of: string;
  path: string;
  parameters?: Readonly<Record<string, string>>;
}) {
  if (pages === 1) return null;
  const link = (to: number) => linkTo(path, { ...parameters, page: String(to) });
  return (
    <Pager
      previous={page > 1 ? link(page - 1) : undefined}
      next={page < pages ? link(page + 1) : undefined}
      previousText="Before"
      nextText="Next"
    >
      Page {page} of {pages}, {total.toLocaleString('en-US')} {of}
    </Pager>
  );
}
