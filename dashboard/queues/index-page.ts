/**
 * Bull Board's page, made from the one of the installed release: without the fonts of another host, and with a script of ours that passes the
 * choice of colours on. A release whose page has another form is refused at the start, rather than shown as it should not be.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MillraceError } from 'millrace';

const FONTS = /[ \t]*<link href="https:\/\/fonts\.googleapis\.com\/[^>]*>\r?\n?/g;
const OTHER_HOSTS = /(?:href|src)="(?:https?:)?\/\//;
const SPLASH = /<div id="root">[\s\S]*?<\/div>(?=\s*<script)/;
const PLACE = /<%([-=]) (\w+) %>/g;
const PLACES = ['basePath', 'title', 'favIconAlternative', 'favIconDefault', 'uiConfig'] as const;

/** What stands in the places of the page. */
export type Places = Readonly<Record<(typeof PLACES)[number], string>>;

/** HTML of ours that is put into it. */
export interface Parts {
  /** Before the scripts. */
  head: string;
  /** Above what Bull Board draws. */
  bar: string;
  /** In the place of it, until it does. */
  waiting: string;
}

/** Fills the page. */
export type IndexPage = (places: Places, parts: Parts) => string;

/** @throws MillraceError OPTIONS_INVALID where the page of the release is not of the form that is known */
export function readIndexPage(viewsPath: string): IndexPage {
  return indexPageOf(readFileSync(join(viewsPath, 'index.ejs'), 'utf8'));
}

/** As readIndexPage(), of the text. */
export function indexPageOf(text: string): IndexPage {
  const page = text.replace(FONTS, '');
  const found = [...page.matchAll(PLACE)].map(([, , name]) => name ?? '');
  const isKnown =
    PLACES.every((name) => found.filter((one) => one === name).length === 1) &&
    found.length === PLACES.length &&
    !page.replace(PLACE, '').includes('<%') &&
    page.split('</head>').length === 2 &&
    SPLASH.test(page) &&
    !OTHER_HOSTS.test(page) &&
    !/<script(?![^>]* src=)(?![^>]*type="application\/json")/.test(page);
  if (!isKnown) {
    const message =
      'createDashboard: the page of this release of @bull-board/ui has another form; install the release that package.json names';
    throw new MillraceError('OPTIONS_INVALID', message, {});
  }
  return (places, { head, bar, waiting }) =>
    page
      .replace('</head>', () => `${head}</head>`)
      .replace(SPLASH, () => `${bar}<div class="millrace-frame"><div id="root">${waiting}</div></div>`)
      .replace(PLACE, (_place, form: string, name: keyof Places) =>
        form === '-' ? places[name] : escaped(places[name]),
      );
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text as HTML. */
export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (one) => ENTITIES[one] ?? one);
}
