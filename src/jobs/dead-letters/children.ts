/**
 * What the children of a job had come to when it died. BullMQ keeps that beside the job, where nothing is left of it: so it goes with the
 * letter, and from there with the next life, whose handler is told of the same children.
 *
 * It travels as text in the options of a job, because Lua makes other lists and numbers of them. Of what is too large for that, only whose
 * it was goes along.
 */
import type { Redis } from 'ioredis';
import type { ChildResults } from '../handler.ts';

/** What is told of a child of which its parent died. */
export const CHILD_FAILED = 'failed';
/** And of one that still waited or ran then. */
export const CHILD_LEFT = 'had not ended when its parent failed';
/** And of one of many that returned more than goes along. */
export const CHILD_TOO_LARGE = 'completed, but its result was not kept: those of all children were too large';

/** Of all results, and of all reasons of failures. */
const MOST_CHARS = 4_000_000;
const PAGE = 50;

/** The children of the job with that key, each among the results or the failures. */
export async function childrenOf(client: Redis, key: string): Promise<ChildResults> {
  const [returned, told, failed, left] = await Promise.all([
    fieldsOf(client, `${key}:processed`, CHILD_TOO_LARGE),
    fieldsOf(client, `${key}:failed`, CHILD_FAILED),
    client.zrange(`${key}:unsuccessful`, '0', '-1'),
    client.smembers(`${key}:dependencies`),
  ]);
  const results = returned.isWhole ? returned.fields.map(([id, json]) => [id, parseJson(json)] as const) : [];
  const failures = [
    ...left.map((child) => [idOf(child), CHILD_LEFT] as const),
    ...failed.map((child) => [idOf(child), CHILD_FAILED] as const),
    ...told.fields,
    ...(returned.isWhole ? [] : returned.fields),
  ];
  return { results: Object.fromEntries(results), failures: Object.fromEntries(failures) };
}

/** What the hash tells of each child, by its id; of each the same, where that is too large. */
async function fieldsOf(
  client: Redis,
  key: string,
  tooLarge: string,
): Promise<{ fields: Array<readonly [string, string]>; isWhole: boolean }> {
  const fields: Array<readonly [string, string]> = [];
  let chars = 0;
  let cursor = '0';
  do {
    const [next, page] = await client.hscan(key, cursor, 'COUNT', PAGE);
    cursor = next;
    for (let at = 0; at < page.length; at += 2) {
      const [child = '', told = ''] = page.slice(at, at + 2);
      fields.push([idOf(child), told]);
      chars += told.length;
    }
    if (chars > MOST_CHARS) {
      const children = await client.hkeys(key);
      return { fields: children.map((child) => [idOf(child), tooLarge] as const), isWhole: false };
    }
  } while (cursor !== '0');
  return { fields, isWhole: true };
}

/** Of text that BullMQ has not written, the text. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The children of an earlier life, as the options of this one have them. */
export function parseChildren(text: string | undefined): ChildResults | undefined {
  return text === undefined ? undefined : (JSON.parse(text) as ChildResults);
}

/** BullMQ names children by their keys; people know their ids. */
export function idOf(key: string): string {
  return key.slice(key.lastIndexOf(':') + 1);
}
