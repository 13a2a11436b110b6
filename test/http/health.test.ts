import express from 'express';
import { describe, expect, test } from 'vitest';
import { runChecks, type Check, type Health } from '../../src/health.ts';
import { healthRouter, listen, type HealthSource } from '../../src/http/index.ts';

const well: Check = async () => undefined;

function sourceOf(checks: Record<string, Check>): HealthSource {
  return { alive: () => runChecks({ platform: well }), ready: () => runChecks(checks) };
}

/** Asks over a real socket, as a probe does. */
async function probe(source: HealthSource, path: string, method = 'GET') {
  const listener = await listen(express().use(healthRouter(source)), { host: '127.0.0.1', port: 0 });
  try {
    const response = await fetch(`${listener.url}${path}`, { method, headers: { connection: 'close' } });
    return { status: response.status, headers: response.headers, text: await response.text() };
  } finally {
    await listener.close();
  }
}

describe('checks', () => {
  test('are well when all are, with one entry each', async () => {
    expect(await runChecks({ redis: well, disk: well })).toEqual({
      ok: true,
      checks: { redis: { ok: true }, disk: { ok: true } },
    });
    expect(await runChecks({})).toEqual({ ok: true, checks: {} });
  });

  test('one reason makes the whole unwell and leaves the others as they are', async () => {
    expect(await runChecks({ redis: async () => 'loading', disk: well })).toEqual({
      ok: false,
      checks: { redis: { ok: false, reason: 'loading' }, disk: { ok: true } },
    });
  });

  test.each<[string, Check]>([
    ['rejects', () => Promise.reject(new Error('no answer'))],
    [
      'throws at once',
      () => {
        throw new Error('no answer');
      },
    ],
    // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- other people's code does.
    ['rejects with a text', () => Promise.reject('no answer')],
  ])('one that %s has failed with what it threw', async (_how, check) => {
    expect(await runChecks({ redis: check, disk: well })).toEqual({
      ok: false,
      checks: { redis: { ok: false, reason: 'no answer' }, disk: { ok: true } },
    });
  });

  test('run side by side', async () => {
    const running: string[] = [];
    let meet!: () => void;
    const both = new Promise<void>((resolve) => (meet = resolve));
    const waitForOther = (name: string) => async (): Promise<undefined> => {
      running.push(name);
      if (running.length === 2) meet();
      await both;
    };
    expect((await runChecks({ a: waitForOther('a'), b: waitForOther('b') })).ok).toBe(true);
  });
});

describe('the health endpoints', () => {
  test.each(['/livez', '/readyz'])('%s says 200 when all is well, and is never cached', async (path) => {
    const answer = await probe(sourceOf({ platform: well }), path);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
    expect(JSON.parse(answer.text)).toEqual({ status: 'ok', checks: { platform: { ok: true } } });
  });

  test('a lost Redis is 503 with the reason on /readyz, and no reason to restart', async () => {
    const source = sourceOf({ platform: well, redis: () => Promise.reject(new Error('nothing listens there')) });
    const ready = await probe(source, '/readyz');
    expect(ready.status).toBe(503);
    expect(ready.headers.get('cache-control')).toBe('no-store');
    expect(JSON.parse(ready.text)).toEqual({
      status: 'unavailable',
      checks: { platform: { ok: true }, redis: { ok: false, reason: 'nothing listens there' } },
    });
    expect((await probe(source, '/livez')).status).toBe(200);
  });

  test.each<[string, () => Promise<Health>]>([
    ['rejects', () => Promise.reject(new Error('not a health'))],
    [
      'throws at once',
      () => {
        throw new Error('not a health');
      },
    ],
  ])('a source that %s is 503 with its reason, without a stack', async (_how, ready) => {
    const answer = await probe({ ...sourceOf({}), ready }, '/readyz');
    expect(answer.status).toBe(503);
    expect(JSON.parse(answer.text)).toEqual({
      status: 'unavailable',
      checks: { health: { ok: false, reason: 'not a health' } },
    });
  });

  test('HEAD has the status and no body; other paths are left to the app', async () => {
    const head = await probe(sourceOf({ redis: async () => 'down' }), '/readyz', 'HEAD');
    expect([head.status, head.text]).toEqual([503, '']);
    expect((await probe(sourceOf({}), '/metrics')).status).toBe(404);
    expect((await probe(sourceOf({}), '/readyz', 'POST')).status).toBe(404);
  });
});
