/** A producer API over real HTTP, with a worker beside it, for the test files of the API. */
import express from 'express';
import { expect } from 'vitest';
import { z } from 'zod';
import { createApiKeys, listen, producerRouter, type ProducerOptions } from '../../src/http/index.ts';
import { defineJob, type JobContract } from '../../src/jobs/contract.ts';
import { handle, type Handler } from '../../src/jobs/handler.ts';
import { createPlatform, type Platform, type PlatformOptions } from '../../src/platform.ts';
import { eventually } from '../support/eventually.ts';

let prefixes = 0;

/** Answers as the input says. */
export const echo = defineJob({
  name: 'api.echo',
  input: z.strictObject({
    text: z.string().min(1).max(200),
    times: z.int().min(1).max(5).default(1),
    fail: z.string().optional(),
    password: z.string().optional(),
  }),
  output: z.object({ said: z.string() }),
  attempts: 2,
  backoff: { type: 'fixed', delay: 1 },
  secrets: ['password'],
});

/** Runs until it is told to end. */
export const slow = defineJob({
  name: 'api.slow',
  queue: 'api-slow',
  input: z.object({ id: z.string() }),
  attempts: 1,
  timeout: '1m',
});

/** One at a time of a user, and its schema refers to itself. */
export const tree = defineJob({
  name: 'reports.tree',
  input: z.object({
    user: z.string().min(1),
    get node() {
      return nodeSchema.optional();
    },
  }),
  unique: { key: ({ user }) => user, for: '1h' },
});
const nodeSchema: z.ZodType = z.object({
  name: z.string(),
  get children() {
    return z.array(nodeSchema).optional();
  },
});

/** Runs the contracts; `release` ends slow ones, by their id. */
export function handlers(): { handlers: Handler[]; release: (id: string) => void; started: Set<string> } {
  const waiting = new Map<string, () => void>();
  const started = new Set<string>();
  return {
    handlers: [
      handle(echo, ({ text, times, fail, password }) => {
        if (fail !== undefined) throw new TypeError(`${fail} ${password ?? ''}`.trim());
        return { said: text.repeat(times) };
      }),
      handle(slow, async ({ id }, { progress, signal }) => {
        started.add(id);
        progress(50);
        await new Promise<void>((resolve) => {
          waiting.set(id, resolve);
          signal.addEventListener('abort', () => resolve());
        });
        signal.throwIfAborted();
        return 'released';
      }),
    ],
    release: (id) => waiting.get(id)?.(),
    started,
  };
}

/** What a request is answered with. */
export interface Reply {
  status: number;
  headers: Headers;
  body: Record<string, unknown>;
  text: string;
}

/** Asks the API; `key` is a token, or undefined for none. */
export type Ask = (
  method: string,
  path: string,
  body?: unknown,
  more?: { key?: string | undefined; headers?: Record<string, string> },
) => Promise<Reply>;

/** A running API. */
export interface Api {
  readonly platform: Platform;
  readonly url: string;
  /** With a key that may do everything, unless another is given. */
  readonly ask: Ask;
  readonly key: string;
  /** A token with these scopes. */
  newKey(scopes: readonly string[]): Promise<string>;
  stop(): Promise<void>;
}

/** Uses what opens a connection when it is used first, so that each test leaves as many as it found. */
export async function warmUp({ platform, ask }: Api): Promise<void> {
  const job = (input: object, options = {}) => ask('POST', '/v1/contracts/api.echo/jobs', { input, options });
  const failing = String((await job({ text: 'a', fail: 'warm-up' })).body['id']);
  const delayed = String((await job({ text: 'a' }, { delay: '1h' })).body['id']);
  await ask('POST', `/v1/jobs/${delayed}/cancel`);
  await eventually(async () => expect(await platform.deadLetters.get(`${failing}~0`)).toBeDefined());
}

/** Likewise, where no worker runs. */
export async function warmUpOnly({ ask }: Api): Promise<void> {
  const { body } = await ask('POST', '/v1/contracts/api.echo/jobs', { input: { text: 'a' }, options: { delay: '1h' } });
  await ask('POST', `/v1/jobs/${String(body['id'])}/cancel`);
}

/** Starts it on the server. */
export async function startApi(
  redisUrl: string,
  options: Partial<ProducerOptions> = {},
  platformOptions: PlatformOptions = {},
): Promise<Api> {
  const prefix = `t-api-${process.pid}-${prefixes++}`;
  const platform = createPlatform({ prefix, redis: { url: redisUrl }, log: { level: 'silent' }, ...platformOptions });
  await platform.start();
  const contracts: readonly JobContract[] = [echo, slow, tree] as never;
  const limit = [{ limit: 100_000, per: '1s' as const }];
  const app = express().use('/api', producerRouter(platform, { contracts, limit, anonymousLimit: limit, ...options }));
  const listener = await listen(app, { host: '127.0.0.1', port: 0 });
  const keys = createApiKeys(platform);
  const newKey = async (scopes: readonly string[]): Promise<string> =>
    (await keys.create({ name: 'test', scopes })).token;
  const key = await newKey(['*:*']);
  const url = `${listener.url}/api`;
  const ask: Ask = async (method, path, body, { key: token = key, headers = {} } = {}) => {
    const isText = typeof body === 'string';
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        connection: 'close',
        ...(token !== '' && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: isText ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: parsed(text), text };
  };
  const stop = async (): Promise<void> => {
    await listener.close();
    await platform.stop();
  };
  return { platform, url, ask, key, newKey, stop };
}

function parsed(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}
