/**
 * Cuts documents into pieces that an embedder can take and a reader can use.
 *
 * A piece ends where a paragraph ends if it can, else where a sentence does, else between words, else anywhere but inside a character. The
 * same text gives the same pieces on every machine: no tables of the system's language are asked. The work grows with the length of the
 * text alone.
 */
import { z } from 'zod';
import { describeValue, MillraceError } from '../errors.ts';
import { checkOptions } from '../schema.ts';

/** Cuts texts into chunks. */
export interface Chunker {
  /** What changes the chunks changes the id; it goes into content hashes. */
  readonly id: string;
  split(text: string): readonly string[];
}

/** Counts what a model reads. It must not count a part as more than the whole. */
export interface Tokeniser {
  /** Goes into the chunker's id. */
  id: string;
  count(this: void, text: string): number;
}

/** Options of textChunker(). */
export interface TextChunkerOptions {
  /** The longest chunk, in UTF-16 units (`length` of a string). Default 2,000, about 500 tokens of English. */
  maxChars?: number | undefined;
  /** The longest chunk in tokens, beside maxChars. Default: no such limit. Without a tokeniser, 4 characters are taken for one. */
  maxTokens?: number | undefined;
  tokeniser?: Tokeniser | undefined;
  /** How much of a chunk's end is said again at the start of the next, in characters and whole sentences. Default 0; at most half of maxChars. */
  overlap?: number | undefined;
}

const DEFAULT_MAX_CHARS = 2_000;
const CHARS_PER_TOKEN = 4;

const chunkerOptions = z
  .strictObject({
    maxChars: z.number().int().min(16).max(1_000_000).optional(),
    maxTokens: z.number().int().min(4).max(1_000_000).optional(),
    tokeniser: z
      .custom<Tokeniser>((value) => typeof (value as Tokeniser | null)?.count === 'function', {
        error: 'expected { id, count(text) }',
      })
      .optional(),
    overlap: z.number().int().min(0).optional(),
  })
  .refine(({ overlap = 0, maxChars = DEFAULT_MAX_CHARS }) => overlap <= maxChars / 2, {
    path: ['overlap'],
    error: 'expected at most half of maxChars',
  });

/**
 * A chunker of prose: paragraphs, sentences, words.
 *
 * @example
 * const chunker = textChunker({ maxChars: 1_000, overlap: 100 });
 * chunker.split('One paragraph.\n\nAnother.'); // ['One paragraph.\n\nAnother.']
 * @throws MillraceError OPTIONS_INVALID
 */
export function textChunker(options: TextChunkerOptions = {}): Chunker {
  const checked = checkOptions(chunkerOptions, options, 'textChunker');
  const { maxChars = DEFAULT_MAX_CHARS, maxTokens, tokeniser, overlap = 0 } = checked;
  const charsByTokens = tokeniser || maxTokens === undefined ? maxChars : maxTokens * CHARS_PER_TOKEN;
  const limit: Limit = {
    maxChars: Math.min(maxChars, charsByTokens),
    maxTokens: tokeniser && maxTokens,
    count: (text) => (tokeniser ? countBy(tokeniser, text) : 0),
  };
  const tokens = limit.maxTokens === undefined ? '' : `:${limit.maxTokens}@${tokeniser?.id}`;
  return Object.freeze({
    id: `text-1:${limit.maxChars}${tokens}:${overlap}`,
    split: (text: string) => pack(text, unitsOf(text, limit), limit, Math.min(overlap, limit.maxChars / 2)),
  });
}

/** @throws MillraceError INPUT_INVALID when it counts nothing that could be compared, of which no text would ever fit */
function countBy(tokeniser: Tokeniser, text: string): number {
  const tokens = tokeniser.count(text);
  if (tokens >= 0) return tokens;
  const { id } = tokeniser;
  const came = describeValue(tokens);
  throw new MillraceError('INPUT_INVALID', `tokeniser ${id}: expected a number of tokens, got ${came}`, { id });
}

interface Limit {
  readonly maxChars: number;
  readonly maxTokens: number | undefined;
  count(this: void, text: string): number;
}

/** Where a piece of the text begins, and where it ends; what follows it up to the next is white space. */
interface Unit {
  readonly from: number;
  readonly to: number;
  /** Whether a paragraph begins with it. */
  readonly opens: boolean;
}

/** Between paragraphs: a line without a word. */
const BLANK = /\n[^\S\n]*\n\s*/g;
/** The end of a sentence. The stops of Chinese and Japanese need no space after them. Bounded, or a megabyte of dots would take hours. */
const STOP = /[.!?…]{1,8}["')\]»”’]{0,4}(?=\s)|[。！？][」』”]?/g;

/** Sentences; longer ones as runs of words, and longer words in pieces, so that every unit fits a chunk. */
function unitsOf(text: string, limit: Limit): Unit[] {
  const units: Unit[] = [];
  let from = skipSpace(text, 0);
  for (const blank of text.matchAll(BLANK)) {
    addSentences(units, text, from, blank.index, limit);
    from = Math.max(from, blank.index + blank[0].length);
  }
  addSentences(units, text, from, text.trimEnd().length, limit);
  return units;
}

function addSentences(units: Unit[], text: string, start: number, end: number, limit: Limit): void {
  let from = start;
  for (const { 0: stop, index } of text.slice(start, end).matchAll(STOP)) {
    const to = start + index + stop.length;
    if (to > from) addFitting(units, text, { from, to, opens: from === start }, limit);
    from = skipSpace(text, to);
  }
  const to = start + text.slice(start, end).trimEnd().length;
  if (from < to) addFitting(units, text, { from, to, opens: from === start }, limit);
}

function addFitting(units: Unit[], text: string, unit: Unit, limit: Limit): void {
  let { from, opens } = unit;
  while (from < unit.to && !fits(text, from, unit.to, limit)) {
    const to = cut(text, from, unit.to, limit);
    units.push({ from, to, opens });
    from = skipSpace(text, to);
    opens = false;
  }
  if (from < unit.to) units.push({ from, to: unit.to, opens });
}

function fits(text: string, from: number, to: number, { maxChars, maxTokens, count }: Limit): boolean {
  if (to - from > maxChars) return false;
  return maxTokens === undefined || count(text.slice(from, to)) <= maxTokens;
}

/** The furthest end between words that fits; between characters when a word alone is too long. */
function cut(text: string, from: number, to: number, limit: Limit): number {
  let room = Math.min(limit.maxChars, to - from);
  if (!fits(text, from, from + room, limit)) {
    // More text never has fewer tokens, so the most that fits is found by halving.
    let least = 1;
    while (room - least > 1) {
      const middle = (least + room) >> 1;
      if (fits(text, from, from + middle, limit)) least = middle;
      else room = middle;
    }
    room = Math.max(2, least);
  }
  const space = lastSpace(text, from, from + room);
  if (space > from) return space;
  const end = Math.min(to, from + room);
  return isInsideCharacter(text, end) ? end - 1 : end;
}

/** The end of the last word that is whole before `end`; `from` when there is none. */
function lastSpace(text: string, from: number, end: number): number {
  for (let at = end; at > from; at--) {
    if (/\s/.test(text[at] ?? '') && !/\s/.test(text[at - 1] ?? '')) return at;
  }
  return from;
}

/** Between the halves of a surrogate pair. */
function isInsideCharacter(text: string, at: number): boolean {
  return /[\ud800-\udbff]/.test(text[at - 1] ?? '') && /[\udc00-\udfff]/.test(text[at] ?? '');
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (at < text.length && /\s/.test(text[at] ?? '')) at++;
  return at;
}

/** As many units a chunk as fit. Half full already, a chunk ends with its paragraph rather than in the midst of the next. */
function pack(text: string, units: readonly Unit[], limit: Limit, overlap: number): string[] {
  const chunks: string[] = [];
  let first = 0;
  while (first < units.length) {
    const from = units[first]?.from ?? 0;
    let next = first + 1;
    let paragraph = 0;
    for (; next < units.length; next++) {
      const unit = units[next];
      if (!unit || !fits(text, from, unit.to, limit)) break;
      if (unit.opens) paragraph = next;
    }
    const isLast = next >= units.length;
    if (!isLast && paragraph > 0 && !units[next]?.opens && lengthOf(units, first, paragraph) * 2 >= limit.maxChars)
      next = paragraph;
    chunks.push(text.slice(from, units[next - 1]?.to));
    first = next >= units.length ? next : stepBack(units, first, next, overlap);
  }
  return chunks;
}

function lengthOf(units: readonly Unit[], first: number, next: number): number {
  return (units[next - 1]?.to ?? 0) - (units[first]?.from ?? 0);
}

/** Where the next chunk begins: some units back, but never as far back as the last one began. */
function stepBack(units: readonly Unit[], first: number, next: number, overlap: number): number {
  let start = next;
  while (start - 1 > first && lengthOf(units, start - 1, next) <= overlap) start--;
  return start;
}
