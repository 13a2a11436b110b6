/** HTML in which every value is escaped, unless somebody says that it is HTML already. */

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
};

/** The text as HTML shows it, between tags and in quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"'`]/g, (sign) => ENTITIES[sign] ?? sign);
}

/** A piece of HTML. */
export class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** What may stand in a piece of HTML. Lists stand one after the other; nothing is shown for what is missing on purpose. */
export type HtmlValue = string | number | bigint | Html | null | undefined | false | readonly HtmlValue[];

/**
 * A piece of HTML; what is filled in is escaped, but for other pieces.
 *
 * @example
 * html`<ul>${items.map(({ name }) => html`<li>${name}</li>`)}</ul>`
 */
export function html(parts: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return new Html(parts.map((part, index) => part + shown(values[index])).join(''));
}

/**
 * A text that is HTML already, and is put in as it is. Never give it what users wrote.
 *
 * @example
 * html`<div>${rawHtml(renderedByMarkdown)}</div>`
 */
export function rawHtml(text: string): Html {
  return new Html(text);
}

function shown(value: HtmlValue): string {
  if (value === null || value === undefined || value === false) return '';
  if (value instanceof Html) return value.text;
  if (typeof value === 'object') return value.map(shown).join('');
  return escapeHtml(String(value));
}
