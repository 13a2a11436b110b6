/**
 * How a key is built: `prefix:module:{tag}:rest`.
 *
 * The tag in braces is what a Cluster hashes, so all keys of one tag share a slot and one script can take them. Braces,
 * colons and percent signs in a part are percent-encoded: without that, a user's id could close the tag early or make two
 * different lists of parts spell one key. So are halves of surrogate pairs, which would all leave as the same bytes. A module lists its keys as functions over a KeySpace, each with type, TTL and
 * writer. A client-side key prefix is never used: BullMQ refuses it, and scripts would not see it.
 */
import { describeValue, MillraceError } from '../errors.ts';

/**
 * Builds the keys of one module: the tag first, then what tells the keys of that tag apart.
 *
 * @example
 * const keys = createKeySpace('shop', 'lock');
 * keys('orders/42');            // shop:lock:{orders/42}
 * keys('orders/42', 'queue');   // shop:lock:{orders/42}:queue
 */
export type KeySpace = (tag: string, ...rest: string[]) => string;

/** The prefix that the platform uses when it is given none. */
export const DEFAULT_PREFIX = 'millrace';

/** What a prefix looks like, for messages. */
export const PREFIX_FORM = 'letters, digits and _ . - only, in parts joined by a colon';

const PREFIX_PATTERN = /^[\w.-]+(?::[\w.-]+)*$/;
const MODULE_PATTERN = /^[\w.-]+$/;

/**
 * The keys of one module under a prefix.
 *
 * @example
 * const keys = createKeySpace('shop', 'lock');
 * keys('orders/42', 'queue'); // shop:lock:{orders/42}:queue
 * @throws MillraceError OPTIONS_INVALID for a prefix or module with braces, spaces or empty parts; KEY_INVALID for an empty part.
 */
export function createKeySpace(prefix: string, module: string): KeySpace {
  checkPrefix(prefix);
  if (!MODULE_PATTERN.test(module)) throw invalid('module', 'letters, digits and _ . - only', module);
  const head = `${prefix}:${module}:{`;
  return (tag, ...rest) => {
    let key = `${head}${encodeTag(tag)}}`;
    for (const part of rest) key += `:${encodePart(part)}`;
    return key;
  };
}

/** @throws MillraceError OPTIONS_INVALID */
export function checkPrefix(prefix: string): void {
  if (!isPrefix(prefix)) throw invalid('prefix', PREFIX_FORM, prefix);
}

/** Whether every key may begin with the text. */
export function isPrefix(text: string): boolean {
  return PREFIX_PATTERN.test(text);
}

/**
 * The part of a key that a Cluster hashes: what stands in the first pair of braces, if anything does, else the whole key.
 */
export function hashTagOf(key: string): string {
  const open = key.indexOf('{');
  if (open === -1) return key;
  const close = key.indexOf('}', open + 1);
  return close > open + 1 ? key.slice(open + 1, close) : key;
}

function encodeTag(tag: string): string {
  if (typeof tag !== 'string' || tag === '') throw empty(tag);
  return tag.replace(/[%{}]|\p{Surrogate}/gu, encodeChar);
}

function encodePart(part: string): string {
  if (typeof part !== 'string' || part === '') throw empty(part);
  return part.replace(/[%{}:]|\p{Surrogate}/gu, encodeChar);
}

function encodeChar(char: string): string {
  return `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
}

function empty(part: unknown): MillraceError {
  return new MillraceError(
    'KEY_INVALID',
    `a part of a key must be a string that is not empty, got ${describeValue(part)}`,
    { part },
  );
}

function invalid(option: string, form: string, came: unknown): MillraceError {
  return new MillraceError('OPTIONS_INVALID', `${option}: expected ${form}, got ${describeValue(came)}`, {
    [option]: came,
  });
}
