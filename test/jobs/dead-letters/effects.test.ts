/** What a job has besides itself, when it dies and is given back: the effects that it has had, and an order to cancel it. */
import { describe, expect, test } from 'vitest';
import { startForFile } from '../../contract/topologies.ts';
import { ownedByTest } from '../../support/owned.ts';
import { Graves } from './graves.ts';

const DAY_MS = 86_400_000;

describe.each(['standalone', 'cluster'] as const)('on %s', (topology) => {
  const running = startForFile(topology);
  const own = ownedByTest();

  /** A job that has had an effect, and died. */
  async function buried(effectTtlMs: number, lettersAgeMs?: number): Promise<Graves> {
    const all = own(new Graves(running().redis, { ...(lettersAgeMs !== undefined && { lettersAgeMs }) }));
    const { client, keys } = all.queues;
    await all.fail({ id: 'a' });
    await client.hset(keys.once('mail', 'a'), 'paid', '"receipt"');
    await client.pexpire(keys.once('mail', 'a'), effectTtlMs);
    await client.hset(keys.cancels('mail'), 'a', 'too late', 'b', 'not of this job');
    expect(await all.mover.moved('mail', 'a')).toBe('moved');
    return all;
  }

  test.each([
    ['as long as letters are, and longer', 90 * DAY_MS, 90 * DAY_MS],
    ['no shorter than ever', DAY_MS, 30 * DAY_MS],
  ])('effects of a dead job are kept %s', async (_how, lettersAgeMs, keptMs) => {
    const all = await buried(1_000_000, lettersAgeMs);
    expect(await all.queues.client.pttl(all.queues.keys.once('mail', 'a'))).toBeGreaterThan(keptMs - 60_000);
  });

  test.each(['mail', 'mail.slow'])('effects go with a job that is given back to %s', async (to) => {
    const all = await buried(1_000_000);
    const { client, keys } = all.queues;
    await client.pexpire(keys.once('mail', 'a'), 1_000_000);
    await client.sadd(keys.queues, to);
    expect(await all.letters.redrive('a~0', { to })).toMatchObject({ redriven: 1 });
    expect(await client.hgetall(keys.once(to, 'a'))).toEqual({ paid: '"receipt"' });
    expect(await client.pttl(keys.once(to, 'a'))).toBeGreaterThan(29 * DAY_MS);
    expect(await client.exists(keys.once('mail', 'a'))).toBe(to === 'mail' ? 1 : 0);
    expect((await all.states(to)).waiting).toEqual(['a']);
  });

  test('a job without effects is given none', async () => {
    const all = own(new Graves(running().redis));
    await all.fail({ id: 'a' });
    await all.mover.moved('mail', 'a');
    await all.queues.client.sadd(all.queues.keys.queues, 'mail.slow');
    expect(await all.letters.redrive('a~0', { to: 'mail.slow' })).toMatchObject({ redriven: 1, skipped: [] });
    const { client, keys } = all.queues;
    expect(await client.exists(keys.once('mail', 'a'))).toBe(0);
    expect(await client.exists(keys.once('mail.slow', 'a'))).toBe(0);
  });

  test('an order to cancel does not outlive the life that it was for', async () => {
    const all = await buried(1_000_000);
    const { client, keys } = all.queues;
    expect(await client.hgetall(keys.cancels('mail'))).toEqual({ b: 'not of this job' });
    await client.hset(keys.cancels('mail'), 'a', 'told once more after its death');
    await all.letters.redrive('a~0');
    expect(await client.hgetall(keys.cancels('mail'))).toEqual({ b: 'not of this job' });
  });
});
