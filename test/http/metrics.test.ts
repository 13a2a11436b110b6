import express from 'express';
import { describe, expect, test } from 'vitest';
import { listen, metricsRouter, type MetricsSource } from '../../src/http/index.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { valueIn } from '../support/exposition.ts';

/** Asks over a real socket, as a scraper does. */
async function scrape(source: MetricsSource, path = '/metrics', method = 'GET') {
  const listener = await listen(express().use(metricsRouter(source)), { host: '127.0.0.1', port: 0 });
  try {
    const response = await fetch(`${listener.url}${path}`, { method, headers: { connection: 'close' } });
    return { status: response.status, headers: response.headers, text: await response.text() };
  } finally {
    await listener.close();
  }
}

describe('the metrics endpoint', () => {
  test('gives the text in the format that Prometheus asks for, never cached', async () => {
    const metrics = createMetrics();
    const mails = metrics.counter({ name: 'mails_total', help: 'Mails.', labels: ['to'] });
    mails.labels({ to: 'Zoë "Z" 🐴' }).inc(3);
    const answer = await scrape(metrics);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(valueIn(answer.text, 'mails_total', { to: 'Zoë "Z" 🐴' })).toBe(3);
  });

  test.each<[string, () => Promise<string>]>([
    ['rejects', () => Promise.reject(new Error('not a text'))],
    [
      'throws at once',
      () => {
        throw new Error('not a text');
      },
    ],
  ])('a source that %s is 500 with its reason, without a stack', async (_how, render) => {
    const answer = await scrape({ render });
    expect([answer.status, answer.text]).toEqual([500, 'not a text\n']);
  });

  test('HEAD has the status and no body; other paths and methods are left to the app', async () => {
    const head = await scrape(createMetrics(), '/metrics', 'HEAD');
    expect([head.status, head.text]).toEqual([200, '']);
    expect((await scrape(createMetrics(), '/livez')).status).toBe(404);
    expect((await scrape(createMetrics(), '/metrics', 'POST')).status).toBe(404);
  });
});
