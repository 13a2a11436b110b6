/** Answers with a page. What is shown goes through preact, which escapes it; there is no other way into the document. */
import type { Response } from 'express';
import { Fragment, h, type ComponentChildren } from 'preact';
import { renderToString } from 'preact-render-to-string';
import { frameOf, type Frame, type View } from '../desk.ts';
import { ViewContext } from './context.ts';
import { Document } from './document.tsx';
import { Layout } from './layout.tsx';

/** A page as its route has it. */
export interface Rendered {
  title: string;
  /** The path of the page in the navigation, such as `/jobs`. */
  active: string;
  body: ComponentChildren;
  /** Files of dashboard/client that enhance the page, by name: `live.js`. */
  scripts?: readonly string[];
  /** Further styles, by name. */
  styles?: readonly string[];
  /** Default 200. */
  status?: number;
}

/**
 * Answers a request with a page in the frame of the dashboard.
 *
 * @example
 * render(response, viewOf(response), { title: 'Jobs', active: '/jobs', body: <JobList jobs={jobs} /> });
 */
export function render(response: Response, view: View, page: Rendered): void {
  const { title, active, body, scripts = [], styles = [], status = 200 } = page;
  const framed = h(ViewContext.Provider, { value: view }, h(Layout, { title, active, children: body }));
  send(response.status(status), view, { title, scripts: ['page.js', ...scripts], styles, children: framed });
}

/** Answers with a page without navigation, for whoever is not signed in. */
export function renderDoor(
  response: Response,
  { title, body, status = 200 }: Pick<Rendered, 'title' | 'body' | 'status'>,
): void {
  const frame = frameOf(response);
  const { environment } = frame;
  const brand = h('p', { class: 'hint' }, environment === undefined ? 'Millrace' : `Millrace, ${environment}`);
  const children = h('main', { id: 'content', class: 'door' }, brand, h('h1', null, title), body);
  send(response.status(status), frame, { title, scripts: [], styles: [], children });
}

interface Sent {
  title: string;
  scripts: readonly string[];
  styles: readonly string[];
  children: ComponentChildren;
}

function send(response: Response, frame: Frame | View, { title, scripts, styles, children }: Sent): void {
  const document = h(Document, {
    title,
    theme: frame.theme,
    base: frame.basePath,
    csrf: 'csrfToken' in frame ? frame.csrfToken : undefined,
    styles: ['styles.css', 'bar.css', ...styles].map((name) => frame.asset(name)),
    scripts: scripts.map((name) => frame.asset(name)),
    children,
  });
  response.type('html').send(`<!doctype html>${renderToString(h(Fragment, null, document))}`);
}
