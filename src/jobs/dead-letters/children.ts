/**
 * What the children of a job had come to when it died. BullMQ keeps that beside the job, where nothing is left of it: so it goes with the
 * letter, and from there with the next life, whose handler is told of the same children.
 *
 * It travels as text in the options of a job, because Lua makes other lists and numbers of them.
 */
import type { Redis } from 'ioredis';
import type { ChildResults } from '../handler.ts';

/** What is told of a child of which its parent died. */
export const CHILD_FAILED = 'failed';
/** And of one that still waited or ran then. */
export const CHILD_LEFT = 'had not ended when its parent failed';

/** The children of the job with that key, each among the results or the failures. */
export async function childrenOf(client: Redis, key: string): Promise<ChildResults> {
  const [returned, told, failed, left] = await Promise.all([
    client.hgetall(`${key}:processed`),
    client.hgetall(`${key}:failed`),
    client.zrange(`${key}:unsuccessful`, '0', '-1'),
    client.smembers(`${key}:dependencies`),
  ]);
  const results = Object.entries(returned).map(([child, json]) => [idOf(child), parseJson(json)] as const);
  const failures = [
    ...left.map((child) => [idOf(child), CHILD_LEFT] as const),
    ...failed.map((child) => [idOf(child), CHILD_FAILED] as const),
    ...Object.entries(told).map(([child, reason]) => [idOf(child), reason] as const),
  ];
  return { results: Object.fromEntries(results), failures: Object.fromEntries(failures) };
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
