/**
 * The keys that are near the edge of their limits, as all processes have told Redis of them, for operators.
 *
 *   PREFIX:rate:{~edge}:seen     ZSET  `LIMITER/KEY` by when it was last told of
 *   PREFIX:rate:{~edge}:facts    HASH  `LIMITER/KEY` -> the policy, how much of it is used, how many calls were refused, since when,
 *                                          and what follows the key of its states, for those who have not its policies and let it in again
 *
 * Both are bounded, and expire after 5 minutes without news. They are written by edge-watch.ts of each process.
 */
import type { KeySpace } from '../redis/keys.ts';
import { defineScript, type ScriptClient } from '../redis/script.ts';

/** A key that was refused, or has used more than 80 % of a limit, in the last minutes. */
export interface EdgeKey {
  readonly limiter: string;
  /** As callers spell it: it may be somebody's address or name. */
  readonly key: string;
  /** The policy that was the nearest to its limit, or that refused; `block` for a blocked key. */
  readonly policy: string;
  /** How much of the policy's limit was used when it was last heard of: 0 to 1. */
  readonly used: number;
  /** About how many calls were refused, by all processes, since `since`. */
  readonly refused: number;
  /** When it was first heard of, and last; ms since 1970 on the server's clock. It is forgotten after 5 minutes without news. */
  readonly since: number;
  readonly seenAt: number;
}

/** What a process has seen of a key. */
export type ToldEdge = Pick<EdgeKey, 'limiter' | 'key' | 'policy' | 'used' | 'refused'>;

const KEYS = ['seen', 'facts'] as const;
const KEEP_MS = 5 * 60_000;
const MOST_KEYS = 500;
/** Where the states are among the facts. */
const STATES = 4;

const tellEdges = defineScript({
  file: 'rate-limit/tell-edges.lua',
  keys: KEYS,
  args: ['keepMs', 'most', '...told'],
  reply: (count: number) => count,
});

const listEdges = defineScript({
  file: 'rate-limit/list-edges.lua',
  keys: KEYS,
  args: ['keepMs'],
  reply: (flat: readonly string[]) => {
    const edges: EdgeKey[] = [];
    for (let at = 0; at + 2 < flat.length; at += 3) edges.push(edgeOf(flat[at], flat[at + 1], flat[at + 2]));
    return edges;
  },
});

const forgetEdge = defineScript({
  file: 'rate-limit/forget-edge.lua',
  keys: KEYS,
  args: ['field'],
  reply: (count: number) => count,
});

/** Adds up what processes tell. `suffixesOf` gives what follows a key for each policy's state, by the limiter. */
export function tell(
  client: ScriptClient,
  keys: KeySpace,
  edges: readonly ToldEdge[],
  suffixesOf: (limiter: string) => readonly string[],
): Promise<number> {
  const told = edges.flatMap(({ limiter, key, policy, used, refused }) => [
    `${limiter}/${key}`,
    policy,
    used.toFixed(3),
    refused,
    suffixesOf(limiter).join(','),
  ]);
  return tellEdges(client, keysOf(keys), { keepMs: KEEP_MS, most: MOST_KEYS, told });
}

/** All that is remembered, the most refused first. @throws what Redis met */
export async function list(client: ScriptClient, keys: KeySpace): Promise<EdgeKey[]> {
  const edges = await listEdges(client, keysOf(keys), { keepMs: KEEP_MS });
  return edges.toSorted((one, other) => other.refused - one.refused || other.used - one.used);
}

/** What follows the key for the state of each policy, as it was told last; undefined when nothing was, lately. @throws what Redis met */
export async function suffixesTold(
  client: ScriptClient,
  keys: KeySpace,
  limiter: string,
  key: string,
): Promise<string[] | undefined> {
  const facts = await client.hget(keysOf(keys).facts, `${limiter}/${key}`);
  return facts?.split(' ')[STATES]?.split(',');
}

/** The key is near no edge any more. @throws what Redis met */
export async function forget(client: ScriptClient, keys: KeySpace, limiter: string, key: string): Promise<void> {
  await forgetEdge(client, keysOf(keys), { field: `${limiter}/${key}` });
}

function keysOf(keys: KeySpace): Record<(typeof KEYS)[number], string> {
  // No limiter is called so: their names have no tilde.
  return { seen: keys('~edge', 'seen'), facts: keys('~edge', 'facts') };
}

function edgeOf(field = '', facts = '', seenAt = ''): EdgeKey {
  const slash = field.indexOf('/');
  const [policy = '', used, refused, since] = facts.split(' ');
  return {
    limiter: field.slice(0, slash),
    key: field.slice(slash + 1),
    policy,
    used: Number(used),
    refused: Number(refused),
    since: Number(since),
    seenAt: Number(seenAt),
  };
}
