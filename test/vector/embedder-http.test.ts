/** The embedder over HTTP, against a server that misbehaves. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.ts';
import { isMillraceError } from '../../src/errors.ts';
import type { Embedder } from '../../src/vector/embedder.ts';
import { httpEmbedder } from '../../src/vector/embedders/http-embedder.ts';
import type { HttpEmbedderOptions } from '../../src/vector/embedders/http-options.ts';
import { answer, EmbeddingServer, plainVector, refuse } from '../support/embedding-server.ts';
import { eventually } from '../support/eventually.ts';

let server: EmbeddingServer;
beforeEach(async () => {
  server = await new EmbeddingServer().start();
});
afterEach(() => server.stop());

/** Waits are noted and not waited for; the time is as if they had been. */
class HastyClock implements Clock {
  readonly waits: number[] = [];
  #skippedMs = 0;
  wallMs = (): number => systemClock.wallMs() + this.#skippedMs;
  monotonicMs = (): number => systemClock.monotonicMs() + this.#skippedMs;
  sleep = (ms: number): Promise<void> => {
    this.waits.push(Math.round(ms));
    this.#skippedMs += ms;
    return Promise.resolve();
  };
}

function embedderOf(options: Partial<HttpEmbedderOptions> = {}): Embedder {
  return httpEmbedder({ url: server.url, model: 'plain', dimensions: 3, ...options });
}

const documents = { kind: 'document' } as const;
const vectorsOf = (texts: readonly string[]): Float32Array[] =>
  texts.map((text) => Float32Array.from(plainVector(text)));

/** What the call rejects with. */
async function failureOf(call: Promise<unknown>): Promise<Error & { code?: string; facts: Record<string, unknown> }> {
  return call.then(
    () => expect.unreachable('it should have failed'),
    (error: unknown) => error as never,
  );
}

describe('a request', () => {
  test('goes to BASE/embeddings with the model, the texts and the key', async () => {
    const embedder = embedderOf({
      url: `${server.url}/`,
      apiKey: 'sk-test',
      asksDimensions: true,
      headers: { 'x-team': 'search' },
    });
    await embedder.embed(['a', 'bc'], documents);
    const [request] = server.requests;
    expect(request).toMatchObject({
      url: '/v1/embeddings',
      model: 'plain',
      input: ['a', 'bc'],
      encoding_format: 'float',
      dimensions: 3,
    });
    expect(request?.headers).toMatchObject({ authorization: 'Bearer sk-test', 'x-team': 'search' });
  });

  test('has the prefix of its kind before each text', async () => {
    const embedder = embedderOf({ documentPrefix: 'passage: ', queryPrefix: 'query: ' });
    await embedder.embed(['fox'], documents);
    await embedder.embed(['fox'], { kind: 'query' });
    expect(server.requests.map(({ input }) => input)).toEqual([['passage: fox'], ['query: fox']]);
  });

  test('is not made for no texts', async () => {
    expect(await embedderOf().embed([], documents)).toEqual([]);
    expect(server.requests).toEqual([]);
  });
});

describe('the answer', () => {
  test('is put in the order of the texts, over batches and whatever the server’s order is', async () => {
    const texts = Array.from({ length: 23 }, (_, at) => 'x'.repeat(at + 1));
    expect(await embedderOf({ maxBatch: 5, concurrency: 3 }).embed(texts, documents)).toEqual(vectorsOf(texts));
    expect(server.requests.map(({ input }) => input.length).toSorted((left, right) => left - right)).toEqual([
      3, 5, 5, 5, 5,
    ]);
    expect(server.peak).toBeLessThanOrEqual(3);
  });

  test('may come as base64', async () => {
    server.misbehave = ({ input }, response) =>
      answer(
        response,
        input.map((text) => Buffer.from(Float32Array.from(plainVector(text)).buffer).toString('base64')),
      );
    expect(await embedderOf({ encoding: 'base64' }).embed(['a', 'bc'], documents)).toEqual(vectorsOf(['a', 'bc']));
  });

  test.each<[string, readonly unknown[] | string, string, string]>([
    ['too few vectors', [[1, 2, 3]], 'EMBEDDING_FAILED', 'expected 2 vectors, got 1'],
    [
      'too many',
      [
        [1, 2, 3],
        [1, 2, 3],
        [1, 2, 3],
      ],
      'EMBEDDING_FAILED',
      'expected 2 vectors, got 3',
    ],
    [
      'the wrong size',
      [
        [1, 2, 3],
        [1, 2],
      ],
      'VECTOR_INVALID',
      'vector 1: expected 3 dimensions, got 2',
    ],
    [
      'no number',
      [
        [1, 2, 3],
        [1, 2, null],
      ],
      'VECTOR_INVALID',
      'vector 1: expected a Float32Array or numbers, got null at 2',
    ],
    [
      'zeros',
      [
        [0, 0, 0],
        [1, 2, 3],
      ],
      'VECTOR_INVALID',
      'vector 0: expected a vector with a direction',
    ],
    [
      'more than a float holds',
      [
        [1e300, 0, 0],
        [1, 2, 3],
      ],
      'VECTOR_INVALID',
      '1e+300, which no 32-bit float holds',
    ],
    [
      'base64 of a float and a piece of one',
      [Buffer.alloc(13, 1).toString('base64'), [1, 2, 3]],
      'EMBEDDING_FAILED',
      'vector 0: expected base64 of whole floats, got 13 bytes',
    ],
    ['a NaN, which JSON has not', '{"data":[{"index":0,"embedding":[NaN,1,1]}]}', 'EMBEDDING_FAILED', 'is not JSON'],
    ['another form', '{"embeddings":[[1,2,3]]}', 'EMBEDDING_FAILED', 'expected { data: [...] }'],
    [
      'one place twice',
      '{"data":[{"index":1,"embedding":[1,2,3]},{"index":1,"embedding":[1,2,3]}]}',
      'EMBEDDING_FAILED',
      'two vectors have the index 1',
    ],
    [
      'a place that is not',
      '{"data":[{"index":0,"embedding":[1,2,3]},{"index":7,"embedding":[1,2,3]}]}',
      'EMBEDDING_FAILED',
      'expected an index below 2, got 7',
    ],
  ])('with %s fails at once', async (_what, reply, code, message) => {
    server.misbehave = (_request, response) =>
      typeof reply === 'string' ? (response.end(reply), true) : answer(response, reply);
    const failure = await failureOf(embedderOf().embed(['a', 'b'], documents));
    expect(failure).toMatchObject({ code, message: expect.stringContaining(message) as string });
    expect(server.requests).toHaveLength(1);
  });

  test('that never ends is given up on at a size that it cannot need', async () => {
    server.misbehave = (_request, response) => {
      response.write(Buffer.alloc(200_000, ' '));
      return true;
    };
    const failure = await failureOf(embedderOf().embed(['a'], documents));
    expect(failure.message).toContain('longer than');
  });
});

describe('a failure that passes', () => {
  test.each([
    ['500', (response) => refuse(response, 500, 'oops')],
    ['502 with a page of its own', (response) => refuse(response, 502, 'oops'.repeat(100_000))],
    ['503 as text', (response) => (response.writeHead(503), response.end('busy'), true)],
    ['429', (response) => refuse(response, 429, 'slow down')],
    ['a connection that is cut', (response) => (response.destroy(), true)],
    [
      'a connection that is cut in the midst of the answer',
      (response) => {
        response.writeHead(200, { 'content-length': '1000' });
        response.write('{"data":[', () => response.destroy());
        return true;
      },
    ],
  ] satisfies Array<[string, (response: Parameters<typeof refuse>[0]) => true]>)(
    '(%s) is tried again, with a growing wait',
    async (_what, fail) => {
      const clock = new HastyClock();
      server.misbehave = (_request, response, count) => (count <= 2 ? fail(response) : undefined);
      expect(await embedderOf({ clock }).embed(['a'], documents)).toEqual(vectorsOf(['a']));
      expect(server.requests).toHaveLength(3);
      expect(clock.waits[0]).toBeGreaterThanOrEqual(350);
      expect(clock.waits[1]).toBeGreaterThanOrEqual(700);
    },
  );

  test('is tried so many times and not more', async () => {
    const clock = new HastyClock();
    server.misbehave = (_request, response) => refuse(response, 502, 'bad gateway');
    const failure = await failureOf(embedderOf({ clock, attempts: 3 }).embed(['a'], documents));
    expect(failure).toMatchObject({ code: 'EMBEDDING_FAILED', facts: { status: 502, model: 'plain' } });
    expect(failure.message).toContain('answered 502: {"error":{"message":"bad gateway"}}');
    expect(server.requests).toHaveLength(3);
  });

  test.each([
    ['retry-after', '7', 7_000],
    ['retry-after-ms', '250', 250],
    ['retry-after', 'DATE', 8_000],
  ])('is waited out as %s: %s says, by all batches', async (header, value, waitMs) => {
    const clock = new HastyClock();
    server.misbehave = (_request, response, count) => {
      if (count > 1) return undefined;
      const date = new Date(clock.wallMs() + waitMs).toUTCString();
      return refuse(response, 429, 'slow down', { [header]: value === 'DATE' ? date : value });
    };
    const texts = ['a', 'b', 'c'];
    expect(await embedderOf({ clock, maxBatch: 1, concurrency: 1 }).embed(texts, documents)).toEqual(vectorsOf(texts));
    expect(clock.waits).toHaveLength(1);
    // A date has whole seconds.
    expect(clock.waits[0]).toBeGreaterThan(waitMs - 1_500);
    expect(clock.waits[0]).toBeLessThanOrEqual(waitMs);
  });

  test('is not waited out when the server asks for longer than allowed', async () => {
    server.misbehave = (_request, response) => refuse(response, 429, 'come back tomorrow', { 'retry-after': '86400' });
    const failure = await failureOf(embedderOf({ clock: new HastyClock() }).embed(['a'], documents));
    expect(failure).toMatchObject({ code: 'EMBEDDING_FAILED', facts: { status: 429, retryAfterMs: 86_400_000 } });
    expect(server.requests).toHaveLength(1);
  });

  test('of a slow server ends at the timeout, and is tried again', async () => {
    server.misbehave = (_request, _response, count) => (count === 1 ? true : undefined);
    const clock = new HastyClock();
    expect(await embedderOf({ clock, timeout: 300 }).embed(['a'], documents)).toEqual(vectorsOf(['a']));
    expect(server.requests).toHaveLength(2);
  });

  test('of an address where nobody listens says why', async () => {
    const { url } = server;
    await server.stop();
    const failure = await failureOf(
      httpEmbedder({ url, model: 'plain', dimensions: 3, attempts: 1 }).embed(['a'], documents),
    );
    expect(failure).toMatchObject({
      code: 'EMBEDDING_FAILED',
      message: expect.stringContaining('ECONNREFUSED') as string,
    });
    server = await new EmbeddingServer().start();
  });
});

describe('a refusal', () => {
  const bad = /^bad/;

  test.each([400, 413, 422])(
    '(%i) of a batch is narrowed down to the texts that are at fault; the others get their vectors',
    async (status) => {
      server.misbehave = ({ input }, response) =>
        input.some((text) => bad.test(text)) ? refuse(response, status, 'too long') : undefined;
      const texts = ['a', 'b', 'bad 1', 'c', 'd', 'e', 'bad 2', 'f'];
      const embedded = await embedderOf().embedEach?.(texts, documents);
      const refused = (embedded ?? []).filter((one) => isMillraceError(one, 'EMBEDDING_REFUSED'));
      expect(refused.map(({ facts }) => facts)).toMatchObject([
        { status, place: 2 },
        { status, place: 6 },
      ]);
      const vectors = embedded?.filter((one) => !isMillraceError(one));
      expect(vectors).toEqual(vectorsOf(texts.filter((text) => !bad.test(text))));
      expect(embedded?.map((one) => isMillraceError(one))).toEqual(texts.map((text) => bad.test(text)));
      const failure = await failureOf(embedderOf().embed(texts, documents));
      expect(failure).toMatchObject({ code: 'EMBEDDING_REFUSED', facts: { refused: [2, 6] } });
      expect(isMillraceError(failure.cause, 'EMBEDDING_REFUSED')).toBe(true);
    },
  );

  test('of every text is the fault of the call, which is given up soon', async () => {
    server.misbehave = (_request, response) => refuse(response, 400, 'no such parameter: dimensions');
    const texts = Array.from({ length: 128 }, (_, at) => `text ${at}`);
    const failure = await failureOf(embedderOf().embedEach?.(texts, documents) ?? Promise.resolve());
    expect(failure).toMatchObject({ code: 'EMBEDDING_FAILED', facts: { status: 400 } });
    expect(server.requests.length).toBeLessThan(32);
  });

  test.each([
    [401, 'Check the API key'],
    [404, 'Check the base URL'],
  ])('(%i) of everything is not tried again and tells the mend, but not the key', async (status, mend) => {
    server.misbehave = (_request, response) => refuse(response, status, 'Incorrect key: sk-secret-1.');
    const failure = await failureOf(embedderOf({ apiKey: 'sk-secret-1', maxBatch: 2 }).embed(['a', 'b'], documents));
    expect(failure).toMatchObject({ code: 'EMBEDDING_FAILED', message: expect.stringContaining(mend) as string });
    expect(JSON.stringify(failure) + failure.message).not.toContain('sk-secret-1');
    expect(server.requests).toHaveLength(1);
  });

  test.each([
    [502, (said: string) => `{"error":"${said}"}`],
    [401, (said: string) => `${'x'.repeat(290)} ${said}`], // Where the message ends in the midst of it.
    [200, (said: string) => said],
    [200, (said: string) => JSON.stringify({ detail: said })],
  ])('(%i) that repeats what it was sent tells neither key nor header, in whatever form', async (status, bodyOf) => {
    const headers = { 'api-key': 'gate-"secret"-2', 'x-auth': 'Bearer token-secret-3' };
    const said = 'sk-secret-1 gate-"secret"-2 token-secret-3';
    server.misbehave = (_request, response) => {
      response.writeHead(status);
      response.end(bodyOf(said));
      return true;
    };
    const failure = await failureOf(
      embedderOf({ apiKey: 'sk-secret-1', headers, attempts: 1 }).embed(['a'], documents),
    );
    expect(failure.code).toBe('EMBEDDING_FAILED');
    const told = [
      failure.message,
      JSON.stringify(failure),
      String((failure.cause as Error | undefined)?.message),
    ].join();
    expect(told).not.toContain('secret');
  });

  test('to answer here but elsewhere is not followed: the key would go there', async () => {
    server.misbehave = (_request, response) => (
      response.writeHead(307, { location: `${server.url}/other` }),
      response.end(),
      true
    );
    const failure = await failureOf(embedderOf({ apiKey: 'sk-secret-1', attempts: 1 }).embed(['a'], documents));
    expect(failure.code).toBe('EMBEDDING_FAILED');
    expect(server.requests).toHaveLength(1);
  });
});

describe('an abort', () => {
  test('ends the request under way, what waits for its turn, and the wait for another try', async () => {
    const stop = new AbortController();
    server.misbehave = () => true;
    const embedder = embedderOf({ maxBatch: 1, concurrency: 1 });
    const call = failureOf(embedder.embed(['a', 'b', 'c'], { kind: 'query', signal: stop.signal }));
    await eventually(() => expect(server.requests).toHaveLength(1));
    const reason = new Error('enough');
    stop.abort(reason);
    expect(await call).toBe(reason);
    expect(server.requests).toHaveLength(1);

    const waiting = new AbortController();
    server.misbehave = (_request, response) => refuse(response, 429, 'wait', { 'retry-after': '30' });
    const other = failureOf(embedder.embed(['a'], { kind: 'query', signal: waiting.signal }));
    await eventually(() => expect(server.requests).toHaveLength(2));
    waiting.abort(reason);
    expect(await other).toBe(reason);
  });
});

describe('options', () => {
  const most = { url: 'https://u.example/v1', model: 'm', dimensions: 3 };

  test('are checked, and no message shows the key', () => {
    const wrong = {
      ...most,
      apiKey: 'sk-secret\n',
      dimensions: 0,
      url: 'ftp://u.example',
      headers: { 'x-key': 'a\r\nb: sk-secret' },
    };
    expect(() => httpEmbedder(wrong)).toThrow(/dimensions: .*url|url: .*dimensions/);
    expect(() => httpEmbedder(wrong)).not.toThrow('sk-secret');
    for (const user of ['user:pass', ':pass'])
      expect(() => httpEmbedder({ ...most, url: `https://${user}@u.example` })).toThrow('without user');
  });

  test('that change what a text becomes change the id; those that do not, do not', () => {
    const { id } = httpEmbedder(most);
    expect(httpEmbedder({ ...most, url: 'https://other.example/v1', apiKey: 'k', maxBatch: 1 }).id).toBe(id);
    for (const other of [
      { model: 'n' },
      { dimensions: 4 },
      { queryPrefix: 'q: ' },
      { documentPrefix: 'd: ' },
      { version: '2' },
    ])
      expect(httpEmbedder({ ...most, ...other }).id).not.toBe(id);
  });
});
