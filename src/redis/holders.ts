/**
 * Under which of many names there is a key.
 *
 * A single server is asked for hundreds of names by one command, and again by halves where some of them have one: of thousands of names few do, so
 * that a few dozen commands tell. On a Cluster each name is asked by itself, as its keys are where its hash tag says.
 * Redis down: throws. A name that cannot be asked, as its node of a Cluster is away or its keys are forbidden, hides itself only.
 */
import { isMillraceError } from '../errors.ts';
import { createBatch } from './batch.ts';
import { clientLabel, type ScriptClient } from './script.ts';
import { explainRedisError } from './explain.ts';

/** What was found. */
export interface Holders {
  /** The names that have a key, in order. */
  names: string[];
  /** Why some could not be asked. */
  failure: unknown;
}

/** Of one command, which takes the server half a millisecond. */
const MOST_KEYS = 1_000;

/** The names of which a key exists; keysOf() gives those of one, as many of each, in one hash tag. @throws MillraceError when the server cannot be asked */
export async function holdersOf(
  client: ScriptClient,
  names: readonly string[],
  keysOf: (name: string) => readonly string[],
): Promise<Holders> {
  const ask = client.isCluster ? askEach : askAll;
  const found: Holders = { names: [], failure: undefined };
  const [one] = names;
  const atOnce = one === undefined ? 1 : Math.max(1, Math.floor(MOST_KEYS / keysOf(one).length));
  for (let first = 0; first < names.length; first += atOnce) {
    const { names: some, failure } = await ask(client, names.slice(first, first + atOnce), keysOf);
    found.names.push(...some);
    found.failure ??= failure;
  }
  return found;
}

async function askAll(
  client: ScriptClient,
  names: readonly string[],
  keysOf: (name: string) => readonly string[],
): Promise<Holders> {
  try {
    const keys = names.flatMap(keysOf);
    const count = Number(await client.call('EXISTS', ...keys));
    if (count === 0) return { names: [], failure: undefined };
    if (names.length === 1 || count === keys.length) return { names: [...names], failure: undefined };
  } catch (error) {
    const reason = explainRedisError(error, clientLabel(client));
    if (!isMillraceError(reason, 'REDIS_FORBIDDEN')) throw reason;
    if (names.length === 1) return { names: [], failure: reason };
  }
  const middle = Math.ceil(names.length / 2);
  const halves = [names.slice(0, middle), names.slice(middle)];
  const [one, other] = await Promise.all(halves.map((half) => askAll(client, half, keysOf)));
  return { names: [...(one?.names ?? []), ...(other?.names ?? [])], failure: one?.failure ?? other?.failure };
}

async function askEach(
  client: ScriptClient,
  names: readonly string[],
  keysOf: (name: string) => readonly string[],
): Promise<Holders> {
  const batch = createBatch(client);
  const asked = names.map((name) => batch.command('EXISTS', ...keysOf(name)));
  await batch.send();
  const answers = await Promise.allSettled(asked);
  const failed = answers.find((answer) => answer.status === 'rejected');
  const has = (index: number): boolean => {
    const answer = answers[index];
    return answer?.status === 'fulfilled' && Number(answer.value) > 0;
  };
  return { names: names.filter((_name, index) => has(index)), failure: failed?.reason };
}
