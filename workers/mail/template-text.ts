/**
 * Templates as text: `{{ name }}` and `{{ user.name }}` stand for values of the data, `{{{ html }}}` for one that is put in unescaped.
 *
 * Promise: what is missing, or is no text, is an error that names template and variable; only the data's own fields are read. There are no
 * loops and no conditions: a template that needs them is a function.
 */
import { unrecoverable } from 'millrace';

/** A template that has been read. */
export interface TextTemplate {
  /** What errors call it, such as `welcome.html`. */
  readonly name: string;
  /** Text, and places between. */
  readonly parts: ReadonlyArray<string | Place>;
}

interface Place {
  path: string;
  isRaw: boolean;
}

const PLACE = /\{\{\{([^{}]*)\}\}\}|\{\{([^{}]*)\}\}/g;
const PATH = /^[\p{L}\p{N}_$-]+(?:\.[\p{L}\p{N}_$-]+)*$/u;

/** @throws MillraceError JOB_UNRECOVERABLE */
export function readTemplate(name: string, text: string): TextTemplate {
  const parts: Array<string | Place> = [];
  let end = 0;
  const take = (literal: string): void => {
    if (literal.includes('{{') || literal.includes('}}'))
      throw unrecoverable(
        `template ${name}: a {{ or }} has no counterpart near ${JSON.stringify(literal.slice(0, 40))}`,
      );
    parts.push(literal);
  };
  for (const match of text.matchAll(PLACE)) {
    const path = (match[1] ?? match[2] ?? '').trim();
    if (!PATH.test(path))
      throw unrecoverable(
        `template ${name}: {{${path}}} is no variable; loops and conditions need a template that is a function`,
      );
    take(text.slice(end, match.index));
    parts.push({ path, isRaw: match[1] !== undefined });
    end = match.index + match[0].length;
  }
  take(text.slice(end));
  return { name, parts };
}

/**
 * The template with its values.
 *
 * @param escape for values that are not marked as raw
 * @throws MillraceError JOB_UNRECOVERABLE
 */
export function fill({ name, parts }: TextTemplate, data: object, escape: (text: string) => string): string {
  return parts
    .map((part) => {
      if (typeof part === 'string') return part;
      const text = textOf(valueAt(data, part.path), `template ${name}: {{${part.path}}}`);
      return part.isRaw ? text : escape(text);
    })
    .join('');
}

function valueAt(data: object, path: string): unknown {
  let value: unknown = data;
  for (const step of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Record<string, unknown>)[step];
  }
  return value;
}

function textOf(value: unknown, what: string): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (value === undefined || value === null) throw unrecoverable(`${what} is missing in the data`);
  throw unrecoverable(`${what} is ${Array.isArray(value) ? 'a list' : 'an object'}, where a text was expected`);
}
