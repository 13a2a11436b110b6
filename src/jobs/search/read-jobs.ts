/** Jobs, as a search reads them: no more of each than a list shows. */
import { wellFormed } from '../../describe-error.ts';
import type { Batch } from '../../redis/batch.ts';
import type { RedisClient } from '../../redis/clients.ts';
import { defineScript } from '../../redis/script.ts';
import type { StoredOptions } from '../enqueue-options.ts';
import { hideSecrets } from '../hide-secrets.ts';
import type { CheckedFilter, JobSummary, SearchableState } from './filter.ts';
import { maskJson } from './masked-json.ts';

/** A larger input is not read: that alone would hold up the server. */
const LARGEST_READ = 1_024 * 1_024;
/** Of an input, what is fetched to be searched, or to be shown only. */
const SEARCHED_BYTES = 64 * 1_024;
const SHOWN_BYTES = 2_048;
const SHOWN_CHARS = 200;
const LONGEST_REASON = 500;

type Raw = [] | [string, string, string, string, string, string, string, number, string];

const readJobs = defineScript({
  file: 'jobs/search/read-jobs.lua',
  keys: ['...jobs'],
  args: ['fromMs', 'toMs', 'most', 'largest', 'sent', '...names'],
  reply: ([bytes, jobs]: [number, Raw[]]) => ({ bytes, jobs }),
});

/** What is looked for, and what of it is secret. */
export interface Query {
  readonly filter: CheckedFilter;
  /** Jobs that were enqueued before then. */
  readonly toMs: number;
  /** Paths by the name of the contract. */
  readonly secrets: ReadonlyMap<string, readonly string[]>;
}

/** What was read of some jobs, as far as it came. */
export interface Looks {
  /** Bytes of inputs that the server has read. */
  bytes: number;
  /** One for each job; undefined for one that does not fit, or is gone. */
  jobs: Array<JobSummary | undefined>;
  /** Whether an input was not searched to its end, and did not fit as far as it was. */
  isCut: boolean;
}

/** Which jobs are read. */
export interface Order {
  client: RedisClient;
  queue: string;
  state: SearchableState;
  ids: readonly string[];
  keyOf: (id: string) => string;
  /** Bytes of inputs. */
  most: number;
}

/** Reads jobs of a queue that were seen in a state, until the inputs have so many bytes; the answer comes with the batch's. */
export async function lookAt(
  batch: Batch,
  { client, queue, state, ids, keyOf, most }: Order,
  { filter, toMs, secrets }: Query,
): Promise<Looks> {
  const { from = 0, names = [], text } = filter;
  const { bytes, jobs } = await batch.run(
    readJobs,
    { jobs: ids.map(keyOf) },
    {
      fromMs: from,
      toMs,
      most,
      largest: LARGEST_READ,
      sent: text === undefined ? SHOWN_BYTES : SEARCHED_BYTES,
      names,
    },
  );
  const needle = text?.toLowerCase();
  let isCut = false;
  const found = await Promise.all(
    jobs.map(async (raw, index): Promise<JobSummary | undefined> => {
      const id = ids[index];
      if (raw.length === 0 || id === undefined) return undefined;
      const [name, , , , , , reason, inputBytes, sent] = raw;
      const fits = (shown: string): boolean =>
        needle === undefined || id.toLowerCase().includes(needle) || shown.toLowerCase().includes(needle);
      const paths = secrets.get(name) ?? [];
      const plain = maskJson(withoutHalfChar(sent), paths);
      const read = Buffer.byteLength(sent);
      const hide = fits(plain) ? await hiding(client, keyOf(id), { sent, isWhole: inputBytes <= read, paths }) : asIs;
      const shown = hide(plain);
      if (!fits(shown)) {
        isCut ||= inputBytes > read;
        return undefined;
      }
      // What a reason quotes of an input that was not read is not known.
      const told = read === 0 && paths.length > 0 ? '' : hide(reason);
      return summaryOf(raw, { id, queue, state, reason: told, inputText: cutAt(shown, SHOWN_CHARS) });
    }),
  );
  return { bytes, jobs: found, isCut };
}

const asIs = (text: string): string => text;

/**
 * What hides the secret values wherever else they stand. The whole input tells them: where the beginning of it only was sent, it is fetched, as
 * it has few jobs that fit and was read by the script before.
 */
async function hiding(
  client: RedisClient,
  key: string,
  { sent, isWhole, paths }: { sent: string; isWhole: boolean; paths: readonly string[] },
): Promise<(text: string) => string> {
  if (paths.length === 0 || sent === '') return asIs;
  const text = isWhole ? sent : ((await client.hget(key, 'data')) ?? sent);
  try {
    return hideSecrets(JSON.parse(text), paths);
  } catch {
    return asIs; // No JSON, so no path leads to a secret.
  }
}

function summaryOf(
  [name, enqueuedAt, startedAt, finishedAt, made, options, , inputBytes]: Exclude<Raw, []>,
  { reason, inputText, ...seen }: Pick<JobSummary, 'id' | 'queue' | 'state' | 'inputText'> & { reason: string },
): JobSummary {
  const stored = optionsOf(options);
  return {
    ...seen,
    name,
    version: stored.v ?? 1,
    attemptsMade: Number(made),
    attempts: Math.max(1, stored.attempts ?? 1), // BullMQ writes 0 for one.
    enqueuedAt: Number(enqueuedAt),
    ...(startedAt !== '' && { startedAt: Number(startedAt) }),
    ...(finishedAt !== '' && { finishedAt: Number(finishedAt) }),
    ...(reason !== '' && { reason: cutAt(wellFormed(reason), LONGEST_REASON) }),
    inputBytes,
    inputText,
  };
}

function optionsOf(text: string): StoredOptions {
  try {
    return JSON.parse(text) as StoredOptions;
  } catch {
    return {}; // Too long to be sent: what they say is in get(id).
  }
}

/** The server cuts between bytes. */
function withoutHalfChar(text: string): string {
  return text.replace(/\u{FFFD}$/u, '');
}

function cutAt(text: string, chars: number): string {
  return text.length <= chars ? text : `${text.slice(0, chars - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}
