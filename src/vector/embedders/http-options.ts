/** The options of the embedder over HTTP, and how they are checked. */
import { z } from 'zod';
import type { Clock } from '../../clock.ts';
import type { Duration } from '../../durations.ts';
import type { Logger } from '../../log.ts';
import { checkOptions, durationOption, functionOption } from '../../schema.ts';
import type { TextKind } from '../embedder.ts';

/** Options of httpEmbedder(). */
export interface HttpEmbedderOptions {
  /** The base URL, to which `/embeddings` is added: `https://api.openai.com/v1`, `http://127.0.0.1:11434/v1` for Ollama. */
  url: string;
  /** The name that the server knows the model by. */
  model: string;
  /** The size of the model's vectors. An answer of another size is refused. */
  dimensions: number;
  /** Sent as a bearer token. Default: none, as local servers want it. */
  apiKey?: string | undefined;
  /** Sent with each request; for gateways that want more than a key. Values are secrets to all messages. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** Ask the model to shorten its vectors to `dimensions`. Default false; only some models can, and others refuse the request. */
  asksDimensions?: boolean | undefined;
  /** How numbers travel. `base64` is a quarter of the size and exact, but not every server knows it. Default `float`. */
  encoding?: 'float' | 'base64' | undefined;
  /** Put before every document; some models are trained with `passage: ` or `search_document: `. Default nothing. */
  documentPrefix?: string | undefined;
  /** Put before every question, such as `query: `. Default nothing. */
  queryPrefix?: string | undefined;
  /** Changes when the model behind the same name does, so that old vectors are not taken for new ones. Default `1`. */
  version?: string | undefined;
  /** Texts of one request. Default 128; up to 2,048. */
  maxBatch?: number | undefined;
  /** Tokens of one request, estimated by countTokens. A longer text travels alone. Default 100,000. */
  maxBatchTokens?: number | undefined;
  /** Counts what the model reads. Default: a token for 3 bytes, which is more than most models count. */
  countTokens?: ((text: string) => number) | undefined;
  /** Requests under way at a time, of all calls together. Default 4; up to 64. */
  concurrency?: number | undefined;
  /** How long an answer may take. Default 30 s; 10 ms to 10 min. */
  timeout?: Duration | undefined;
  /** How often a request is sent at most, when it fails in a way that passes. Default 5; 1 to 20. */
  attempts?: number | undefined;
  /** The longest wait between two attempts. A server that asks for more is given up on at once, with `retryAfterMs` in the error. Default 1 min. */
  maxWait?: Duration | undefined;
  log?: Logger | undefined;
  clock?: Clock | undefined;
}

/** Options after their check. */
export interface HttpEmbedderRule {
  readonly id: string;
  readonly endpoint: string;
  /** What messages call the server: no key, no user, no query. */
  readonly label: string;
  readonly headers: Readonly<Record<string, string>>;
  /** A text without the key and the values of headers. */
  masked(this: void, text: string): string;
  readonly model: string;
  readonly dimensions: number;
  readonly asksDimensions: boolean;
  readonly encoding: 'float' | 'base64';
  readonly prefixes: Readonly<Record<TextKind, string>>;
  readonly maxBatch: number;
  readonly maxBatchTokens: number;
  countTokens(this: void, text: string): number;
  readonly concurrency: number;
  readonly timeoutMs: number;
  readonly attempts: number;
  readonly maxWaitMs: number;
  /** What an answer with so many vectors can have at most. */
  maxReplyBytes(this: void, count: number): number;
  readonly log: Logger | undefined;
  readonly clock: Clock | undefined;
}

const baseUrl = z.string().refine(
  (text) => {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url === undefined || !/^https?:$/.test(url.protocol)) return false;
    return [url.username, url.password, url.search, url.hash].every((part) => part === '');
  },
  { error: 'expected an http or https URL without user, query and fragment' },
);
/** What a header may hold: a line break would begin another one. */
const headerValue = z.string().regex(/^[\t\x20-\x7e]*$/, 'expected printable ASCII');
const among = (least: number, most: number) =>
  durationOption.refine((ms) => ms >= least && ms <= most, { error: `expected ${least} ms to ${most} ms` });

const httpOptions = z.strictObject({
  url: baseUrl,
  model: z.string().min(1).max(256),
  dimensions: z.number().int().min(1).max(32_768),
  apiKey: headerValue.min(1).optional(),
  headers: z.record(z.string().regex(/^[\w!#$%&'*+.^`|~-]+$/, 'expected the name of a header'), headerValue).optional(),
  asksDimensions: z.boolean().optional(),
  encoding: z.enum(['float', 'base64']).optional(),
  documentPrefix: z.string().max(1_024).optional(),
  queryPrefix: z.string().max(1_024).optional(),
  version: z.string().min(1).max(64).optional(),
  maxBatch: z.number().int().min(1).max(2_048).optional(),
  maxBatchTokens: z.number().int().min(1).max(10_000_000).optional(),
  countTokens: functionOption.optional(),
  concurrency: z.number().int().min(1).max(64).optional(),
  timeout: among(10, 600_000).optional(),
  attempts: z.number().int().min(1).max(20).optional(),
  maxWait: among(0, 3_600_000).optional(),
  log: z.custom<Logger>().optional(),
  clock: z.custom<Clock>().optional(),
});

const BYTES_PER_TOKEN = 3;
/** A float of an answer, with its comma; JSON writes up to 25 characters, and some servers indent. */
const BYTES_PER_NUMBER = 48;
const BYTES_BESIDE = 65_536;

/** @throws MillraceError OPTIONS_INVALID, without any value of the key or the headers. */
export function checkHttpEmbedder(options: HttpEmbedderOptions): HttpEmbedderRule {
  const checked = checkOptions(httpOptions, options, 'httpEmbedder', ['apiKey', 'headers']);
  const { model, dimensions, apiKey, documentPrefix = '', queryPrefix = '', version = '1' } = checked;
  const url = new URL(checked.url);
  const path = url.pathname.replace(/\/+$/, '');
  return Object.freeze({
    // Everything that changes what a text becomes. Not the URL: the same model may move.
    id: `http:${JSON.stringify([model, dimensions, documentPrefix, queryPrefix, version])}`,
    endpoint: `${url.origin}${path}/embeddings`,
    label: `embedder ${model} at ${url.host}${path}`,
    headers: {
      'content-type': 'application/json',
      accept: 'application/json',
      ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
      ...checked.headers,
    },
    masked: maskOf(Object.values({ ...checked.headers, apiKey })),
    model,
    dimensions,
    asksDimensions: checked.asksDimensions ?? false,
    encoding: checked.encoding ?? 'float',
    prefixes: { document: documentPrefix, query: queryPrefix },
    maxBatch: checked.maxBatch ?? 128,
    maxBatchTokens: checked.maxBatchTokens ?? 100_000,
    countTokens: checked.countTokens ?? ((text: string) => Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN)),
    concurrency: checked.concurrency ?? 4,
    timeoutMs: checked.timeout ?? 30_000,
    attempts: checked.attempts ?? 5,
    maxWaitMs: checked.maxWait ?? 60_000,
    maxReplyBytes: (count: number) => BYTES_BESIDE + count * (dimensions * BYTES_PER_NUMBER + 1_024),
    log: checked.log,
    clock: checked.clock,
  });
}

/** Shorter ones stand in any text, and are none. */
const SHORTEST_SECRET = 4;

/** Replaces secrets, as they are and as JSON has them; of `Bearer KEY` the key alone too. The longest first, since one may be in another. */
function maskOf(values: ReadonlyArray<string | undefined>): (text: string) => string {
  const secrets = values
    .flatMap((value = '') => [value, value.replace(/^\S+\s+/, '')])
    .flatMap((value) => [value, JSON.stringify(value).slice(1, -1)])
    .filter((value) => value.length >= SHORTEST_SECRET)
    .toSorted((left, right) => right.length - left.length);
  return (text) => secrets.reduce((masked, secret) => masked.replaceAll(secret, '***'), text);
}
