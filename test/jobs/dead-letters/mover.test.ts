import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fingerprintOf } from '../../../src/fingerprint.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startForFile } from '../../contract/topologies.ts';
import { Graves } from './graves.ts';

const error = (): Error => new RangeError('user 17 not found');

describe.each(['standalone', 'sentinel', 'cluster'] as const)('on %s', (topology) => {
  const running = startForFile(topology);
  const own = ownedByTest();
  const graves = (options = {}) => own(new Graves(running().redis, options));

  test('a job that failed for good becomes a dead letter that tells all', async () => {
    const all = graves();
    const before = Date.now();
    await all.fail({
      id: 'a1',
      data: { to: 'ada@example.com' },
      opts: { attempts: 3, priority: 4, v: 2, exp: 60_000, to: 1_000 },
      error: error(),
      record: { startedAt: before, endedAt: before + 5 },
    });
    await all.failNext('mail', error(), { attempt: 2 });
    await all.failNext('mail', error(), { attempt: 3, reason: 'attempts', version: '1.2.3' });
    expect(await all.mover.moved('mail', 'a1')).toBe('moved');
    expect(await all.states()).toEqual({ failed: [], waiting: [], dead: ['a1~0'] });
    const letter = await all.letters.get('a1~0');
    expect(letter).toMatchObject({
      id: 'a1~0',
      jobId: 'a1',
      queue: 'mail',
      contract: 'mail.send',
      version: 2,
      reason: 'attempts',
      firstFailedAt: before + 5,
      input: { to: 'ada@example.com' },
      error: { name: 'RangeError', message: 'user 17 not found' },
      redriven: 0,
      history: [],
      options: { attempts: 3, priority: 4, v: 2, exp: 60_000, to: 1_000 },
    });
    expect(letter?.attempts).toHaveLength(3);
    expect(letter?.diedAt).toBeGreaterThanOrEqual(before);
    expect(await all.queues.client.exists(all.queues.get('mail').key('a1'))).toBe(0);
  });

  test('its letter is given back with fresh attempts, and dies again beside its history', async () => {
    const all = graves();
    await all.fail({ id: 'a1', data: { n: 1 } });
    await all.mover.moved('mail', 'a1');
    expect(await all.letters.redrive('a1~0', { by: 'ada' })).toMatchObject({ matched: 1, redriven: 1, skipped: [] });
    expect(await all.states()).toEqual({ failed: [], waiting: ['a1'], dead: [] });
    await all.failNext('mail', new Error('again'));
    await all.mover.moved('mail', 'a1');
    const letter = await all.letters.get('a1~1');
    expect(letter).toMatchObject({ jobId: 'a1', input: { n: 1 }, redriven: 1, history: [{ by: 'ada' }] });
    expect(letter?.attempts).toHaveLength(1);
    expect(await all.letters.discard('a1~1')).toEqual({ matched: 1, discarded: 1, dryRun: false });
    expect(await all.states()).toEqual({ failed: [], waiting: [], dead: [] });
  });

  test('many go together, of several queues', async () => {
    const all = graves();
    const jobs = ['mail', 'mail.bulk', 'billing', 'reports'].flatMap((queue) =>
      Array.from({ length: 12 }, (_, index) => ({ queue, id: `${queue}-${index}` })),
    );
    for (const job of jobs) await all.fail(job);
    expect(new Set(await Promise.all(jobs.map(({ queue, id }) => all.mover.moved(queue, id))))).toEqual(
      new Set(['moved']),
    );
    expect(await all.letters.count()).toBe(48);
    expect(await all.letters.redrive({})).toMatchObject({ matched: 48, redriven: 48 });
    for (const queue of ['mail', 'mail.bulk', 'billing', 'reports'])
      expect(await all.states(queue)).toMatchObject({ failed: [], dead: [] });
    expect((await all.states('billing')).waiting).toHaveLength(12);
  });
});

describe('reasons', () => {
  const running = startForFile('standalone');
  let all: Graves;
  beforeAll(async () => {
    all = new Graves(running().redis);
    await all.fail({ id: 'first' });
    await all.mover.moved('mail', 'first');
  });
  afterAll(() => all.close());

  test.each([
    ['attempts', 'ECONNRESET', undefined],
    ['poison', 'job stalled more than allowable limit', undefined],
    ['poison', 'job started more than allowable limit', undefined],
    ['child', 'child millrace:jobs:{a}:a:77 failed', undefined],
    ['expired', 'too late', 'expired'],
    ['input', 'to: expected a string', 'input'],
  ] as const)('%s: %s', async (reason, message, recorded) => {
    const id = `r-${reason}-${message.split(' ', 2).join('').replaceAll(/\W/g, '')}`;
    await all.fail({ id, error: new Error(message), ...(recorded && { record: { reason: recorded } }) });
    expect(await all.mover.moved('mail', id)).toBe('moved');
    const letter = await all.letters.get(`${id}~0`);
    expect(letter).toMatchObject({ reason, error: { message } });
    expect(letter?.fingerprint).toBe(
      fingerprintOf({ ...(letter?.error ?? { name: '', message: '', stack: '' }), contract: 'mail.send' }),
    );
  });

  test('a job that was cancelled is no dead letter', async () => {
    await all.fail({ id: 'cancelled-1', record: { outcome: 'cancelled' } });
    expect(await all.mover.moved('mail', 'cancelled-1')).toBe('cancelled');
    expect((await all.states()).failed).toContain('cancelled-1');
  });

  test('a job that is not in failed is left alone', async () => {
    await all.queues.get('other').queue.add('x', {}, { jobId: 'w1' });
    expect(await all.mover.moved('other', 'w1')).toBe('gone');
    expect(await all.mover.moved('other', 'nobody')).toBe('gone');
    expect((await all.states('other')).waiting).toEqual(['w1']);
  });

  test('a second job with an id that died before finds a place of its own', async () => {
    await all.fail({ id: 'twin', data: 1 });
    await all.mover.moved('mail', 'twin');
    await all.fail({ id: 'twin', data: 2 });
    await all.mover.moved('mail', 'twin');
    expect([(await all.letters.get('twin~0'))?.input, (await all.letters.get('twin~1'))?.input]).toEqual([1, 2]);
  });
});
