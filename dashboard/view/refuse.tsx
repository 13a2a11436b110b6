/** Pages that say no: not found, not allowed, gone wrong. They tell what to do and give nothing away of the inside. */
import type { Response } from 'express';
import { viewIfAny } from '../desk.ts';
import { Empty } from './parts.tsx';
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
  const body = <Empty>{text}</Empty>;
  if (view) render(response, view, { title, active: '', status, body });
  else renderDoor(response, { title, status, body });
}
