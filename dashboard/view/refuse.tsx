/** Pages that say no: not found, not allowed, gone wrong. They tell what to do and give nothing away of the inside. */
import type { Response } from 'express';
import { viewIfAny, type Page, type View } from '../desk.ts';
import { Back, Empty } from './parts.tsx';
import { render, renderDoor } from './render.ts';

const GONE_WRONG = 'Something went wrong';
const TITLES: Readonly<Record<number, string>> = {
  400: 'That cannot be done',
  403: 'Not allowed',
  404: 'Not found',
  405: 'Not possible here',
  409: 'Out of date',
  413: 'Too much',
  429: 'Too many attempts',
  500: GONE_WRONG,
  503: 'Not reachable for now',
};

/**
 * Answers with a page that says why not, in words for the user.
 *
 * @example
 * if (!job) return refusePage(response, 404, 'There is no such job. It may have been removed.');
 */
export function refusePage(response: Response, status: number, text: string): void {
  const title = TITLES[status] ?? GONE_WRONG;
  const view = viewIfAny(response);
  if (!view) return renderDoor(response, { title, status, body: <Empty>{text}</Empty> });
  const page = pageOf(view);
  const body = (
    <>
      <Empty>{text}</Empty>
      {page && <Back to={page.path}>{`Back to ${page.title}`}</Back>}
    </>
  );
  render(response, view, { title, active: page?.path ?? '', status, body });
}

/** The page that the address belongs to, if whoever asks may read it. */
function pageOf({ here, pages, may }: View): Page | undefined {
  const belongs = ({ path }: Page): boolean => path === '/' || here === path || /^[/?]/.test(here.slice(path.length));
  const under = pages.filter((page) => page.nav !== undefined && may(page.needs) && here.startsWith(page.path));
  return under.filter(belongs).toSorted((one, other) => other.path.length - one.path.length)[0];
}
