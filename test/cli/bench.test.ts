/** `millrace bench`, cut short. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { commandCount } from '../support/command-count.ts';
import { startCommand } from '../support/commands.ts';
import { temporaryFolder } from '../support/folders.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();
const cwd = temporaryFolder();

test.each(['enqueueing one by one', 'enqueueing together', 'working'])(
  'Ctrl-C while it is %s ends it after what is on its way, and leaves no key behind',
  async (step) => {
    const jobs = 8_000;
    const server = own(await startRedis());
    const proxy = own(await startProxy(server.port));
    const env = { REDIS_URL: proxy.url, MILLRACE_PREFIX: `t-${randomUUID()}` };
    const bench = own(startCommand(['bench', '--jobs', String(jobs)], { cwd, env }));
    await bench.complains(step);
    proxy.slowDown(200); // Of four bulks it is in one then.
    const before = await commandCount([server], 'evalsha');
    bench.child.kill('SIGINT');
    expect(await bench.ended).toBe(1);
    expect(bench.err()).toContain('Cut short; what it had written is removed.\n');
    expect(bench.out()).toBe('');
    expect((await commandCount([server], 'evalsha')) - before).toBeLessThan(jobs / 2);
    expect(await server.ask((redis) => redis.keys(`*:bench:*`))).toEqual([]);
  },
);
