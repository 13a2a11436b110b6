/**
 * Where the content of mails comes from: files in a folder, or functions.
 *
 * Of files, NAME.subject, NAME.txt and NAME.html belong together; one of the last two may be missing. They are read when they are first
 * needed and kept: a process that runs on shows what it began with.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { unrecoverable } from 'millrace';
import { ONE_LINE } from '../one-line.ts';
import { escapeHtml, Html } from './html.ts';
import { fill, readTemplate, type TextTemplate } from './template-text.ts';

/** The content of a mail. */
export interface MailContent {
  /** One line. */
  subject: string;
  /** For readers that show no HTML. */
  text?: string | undefined;
  /** Made by html`...`, which escapes what is filled in. */
  html?: Html | undefined;
}

/** A template that is a function of the data. What it throws fails the attempt; throw unrecoverable() where another try is of no use. */
export type MailTemplate = (data: Readonly<Record<string, unknown>>) => MailContent | Promise<MailContent>;

/** A folder, or templates by their names. */
export type MailTemplates = string | Readonly<Record<string, MailTemplate>>;

/** What a mail is made of. */
export interface Rendered {
  subject: string | undefined;
  text: string | undefined;
  html: string | undefined;
}

/** Fills templates. */
export type Renderer = (name: string, data: Readonly<Record<string, unknown>>) => Promise<Rendered>;

/** @returns what throws JOB_UNRECOVERABLE for a template that is missing or does not fit the data */
export function createRenderer(templates: MailTemplates | undefined): Renderer {
  if (templates === undefined)
    return (name) => Promise.reject(unrecoverable(`there is no template ${name}: the handler has no templates`));
  const render = typeof templates === 'string' ? fromFolder(templates) : fromFunctions(templates);
  return async (name, data) => {
    const content = await render(name, data);
    // A value of the data must not begin a header of its own.
    if (content.subject !== undefined && !ONE_LINE.test(content.subject))
      throw unrecoverable(`template ${name}: its subject is more than one line`);
    if (content.text === undefined && content.html === undefined)
      throw unrecoverable(`template ${name}: it has neither text nor HTML`);
    return content;
  };
}

function fromFunctions(templates: Readonly<Record<string, MailTemplate>>): Renderer {
  return async (name, data) => {
    const template = Object.hasOwn(templates, name) ? templates[name] : undefined;
    if (!template) throw unrecoverable(`there is no template ${name}; there are: ${Object.keys(templates).join(', ')}`);
    const { subject, text, html } = await template(data);
    if (html !== undefined && !(html instanceof Html))
      throw unrecoverable(`template ${name}: expected its HTML to be made by html\`...\` or rawHtml()`);
    return { subject, text, html: html?.text };
  };
}

interface Files {
  subject: TextTemplate | undefined;
  text: TextTemplate | undefined;
  html: TextTemplate | undefined;
}

function fromFolder(folder: string): Renderer {
  const known = new Map<string, Files>();
  return async (name, data) => {
    let files = known.get(name);
    if (!files) known.set(name, (files = await readFiles(folder, name)));
    return {
      subject: files.subject && fill(files.subject, data, asItIs).trim(),
      text: files.text && fill(files.text, data, asItIs),
      html: files.html && fill(files.html, data, escapeHtml),
    };
  };
}

function asItIs(text: string): string {
  return text;
}

async function readFiles(folder: string, name: string): Promise<Files> {
  const [subject, text, html] = await Promise.all(
    ['subject', 'txt', 'html'].map(async (ending) => {
      const source = await textOf(join(folder, `${name}.${ending}`));
      return source === undefined ? undefined : readTemplate(`${name}.${ending}`, source);
    }),
  );
  if (!subject && !text && !html) throw unrecoverable(`there is no template ${name} in ${folder}`);
  return { subject, text, html };
}

/** Undefined where there is no such file; other faults, such as a disk that fails, may pass. */
async function textOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
