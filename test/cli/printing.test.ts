/** How commands print and ask: tables, frames, the live screen and questions, on terminals that the test makes. */
import { once } from 'node:events';
import { PassThrough, Writable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { parseWords, usageOf, type Command } from '../../src/cli/command.ts';
import { confirm } from '../../src/cli/confirm.ts';
import { jsonOf } from '../../src/cli/output.ts';
import { askTwice } from '../../src/cli/password.ts';
import { progressBar, progressLine } from '../../src/cli/progress.ts';
import { momentOf } from '../../src/cli/read-flags.ts';
import { cut, printable, table, widthOf } from '../../src/cli/table.ts';
import { frameOf } from '../../src/cli/top-frame.ts';
import type { TopLook, TopQueue } from '../../src/cli/top-look.ts';
import { showLive } from '../../src/cli/top-screen.ts';
import { systemClock } from '../../src/clock.ts';
import type { WorkerInfo } from '../../src/jobs/fleet/report.ts';
import { eventually } from '../support/eventually.ts';

/** What was written to it. */
class Screen extends Writable {
  text = '';
  readonly isTTY = true;
  columns = 60;
  rows = 20;
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

/** A keyboard, and whether it is in raw mode. */
class Keyboard extends PassThrough {
  readonly isTTY = true;
  isRaw = false;
  setRawMode(isRaw: boolean): this {
    this.isRaw = isRaw;
    return this;
  }
}

describe('tables', () => {
  const columns = [
    { title: 'NAME', of: ({ name }: { name: string }) => name, cutTo: 6 },
    { title: 'N', of: ({ count }: { count: number }) => count, align: 'right' as const },
  ];

  test('columns stand below each other, whatever the letters are', () => {
    const rows = ['mail', '请求队列', 'café', '👩‍👩‍👧 team', 'ไทย'].map((name, at) => ({ name, count: 10 ** at }));
    const lines = table(rows, columns);
    expect(new Set(lines.map(widthOf)).size, lines.join('\n')).toBe(1);
    expect(widthOf('请求')).toBe(4);
    expect(widthOf('e\u0301')).toBe(1);
  });

  test('a wide one is cut to the terminal, and told row by row where it does not fit at all', () => {
    const rows = [{ name: 'a-very-long-name', count: 7 }];
    expect(table(rows, columns, 12)).toEqual(['NAME       N', 'a-very-l…  7']);
    expect(table(rows, columns, 8)).toEqual(['NAME  a…', 'N     7']);
    expect(table(rows, columns)[1]).toBe('a-very-long-name  7');
    expect(cut('请求队列', 6)).toBe('请求…');
    const [name, count] = columns;
    const withExtra = [name, { title: 'NOTE', of: () => 'note', canGo: true }, count].flatMap((column) => column ?? []);
    expect(table(rows, withExtra, 12)).toEqual(['NAME       N', 'a-very-l…  7']);
  });

  test('what strangers have written moves no cursor, rings no bell and turns no line around', () => {
    expect(printable('\u001b[2J\u0007a\u202eb\nc')).toBe('\\u001b[2J\\u0007a\\u202eb\nc');
    const letter = { '\u009b2J': ['\u001b]0;', '\u202e\u2028\u007f'] };
    // eslint-disable-next-line no-control-regex -- these are what is looked for
    expect(jsonOf(letter)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u202e]/);
    expect(JSON.parse(jsonOf(letter, 2))).toEqual(letter);
    expect(jsonOf(undefined)).toBe('null');
    expect(table([{ name: 'two\nlines\u001b[31m', count: 1 }], columns)[1]).toBe('two lines\\u001b[31m  1');
  });
});

describe('words', () => {
  const command: Command = { summary: '', words: ['NAME', '[FILE...]'], flags: {}, exitCodes: {}, run: async () => 0 };

  test('a last word may come many times, or not at all', () => {
    expect(parseWords(['a'], command)).toMatchObject({ given: { NAME: 'a' }, rest: [] });
    expect(parseWords(['a', 'b', 'c'], command)).toMatchObject({ given: { NAME: 'a' }, rest: ['b', 'c'] });
    expect(() => parseWords([], command)).toThrow('expected NAME');
    expect(usageOf('x', command)).toContain('Usage: millrace x NAME [FILE...] [flags]');
  });

  test('a moment is how long ago, or a date', () => {
    const now = systemClock.wallMs();
    expect(Math.abs((momentOf('since', { since: '1h' }) ?? 0) - (now - 3_600_000))).toBeLessThan(60_000);
    expect(momentOf('since', { since: '2026-11-21T10:00Z' })).toBe(Date.UTC(2026, 10, 21, 10));
    expect(momentOf('since', {})).toBeUndefined();
    expect(() => momentOf('since', { since: '5' })).toThrow('expected how long ago');
  });
});

describe('questions', () => {
  test('only yes goes on; --yes is not asked; without a terminal it is refused with exit code 2', async () => {
    for (const [answer, goesOn] of [
      ['y\n', true],
      ['YES\n', true],
      ['\n', false],
      ['nope\n', false],
    ] as const) {
      const [input, output] = [new Keyboard(), new Screen()];
      const asked = confirm('Remove 3?', {}, { input, output });
      input.write(answer);
      expect(await asked, answer).toBe(goesOn);
      expect(output.text).toContain('Remove 3? [y/N] ');
    }
    const input = new Keyboard();
    const closed = confirm('Remove 3?', {}, { input, output: new Screen() });
    input.end();
    expect(await closed).toBe(false);
    const nobody = { input: new PassThrough(), output: new Screen() };
    expect(await confirm('Remove 3?', { yes: true }, nobody)).toBe(true);
    await expect(confirm('Remove 3?', {}, nobody)).rejects.toMatchObject({ exitCode: 2 });
  });

  test('a name in a question plays no tricks either', async () => {
    const [input, output] = [new Keyboard(), new Screen()];
    const asked = confirm('Revoke \u001b[2K\nnothing?', {}, { input, output });
    input.write('n\n');
    expect(await asked).toBe(false);
    expect(output.text).toContain('Revoke \\u001b[2K nothing? [y/N] ');
  });

  test('a password is asked for twice, and not shown; Ctrl-C and Ctrl-D leave', async () => {
    for (const [keys, outcome] of [
      ['long enough\rlong enough\r', 'long enough'],
      ['long enough\rlong enouhg\r', 'the two are not the same'],
      ['long\u0003', 'no password was given'],
      ['\u0004', 'no password was given'],
      ['long enough\r\u0004', 'no password was given'],
    ] as const) {
      const [input, output] = [new Keyboard(), new Screen()];
      const asked = askTwice({ input, output }).catch((error: Error) => error.message);
      for (const key of keys) {
        input.write(key);
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(await asked).toBe(outcome);
      expect(output.text).not.toContain('long');
    }
  });

  test('progress stays on one line of the terminal', () => {
    const screen = Object.assign(new Screen(), { columns: 20 });
    const line = progressLine(screen as unknown as NodeJS.WriteStream);
    line.show('downloading 请求 of a long name: 42 %');
    expect(widthOf(screen.text.replace('\r', ''))).toBeLessThan(20);
    expect(screen.text).toContain('downloading');
  });

  test('a bar is shown of long work on a terminal only', async () => {
    const screen = new Screen();
    const bar = progressBar('removed', screen as unknown as NodeJS.WriteStream);
    const narrow = Object.assign(new Screen(), { columns: 30 });
    const short = progressBar('removed', narrow as unknown as NodeJS.WriteStream);
    bar.show(0, 10);
    expect(screen.text, 'not of work that is soon over').toBe('');
    await eventually(() => {
      bar.show(5, 10);
      expect(screen.text).toContain('[############------------] 5 of 10 removed');
      short.show(5, 10);
      expect(narrow.text).toContain('  [####-----] 5 of 10 removed');
    });
    bar.clear();
    const plain = Object.assign(new Screen(), { isTTY: false });
    progressBar('removed', plain as unknown as NodeJS.WriteStream).show(10, 10);
    expect(plain.text).toBe('');
  });
});

const counts = {
  waiting: 1,
  active: 2,
  delayed: 0,
  prioritized: 3,
  'waiting-children': 0,
  completed: 0,
  failed: 0,
  dead: 0,
};
const queueNamed = (queue: string, dead = 0): TopQueue => ({
  queue,
  counts: { ...counts, dead },
  oldestAgeMs: 90_000,
  isPaused: false,
  donePerMinute: 120,
  failedPerMinute: 0,
});
const workerOf = (pid: number, state: WorkerInfo['state'] = 'running'): WorkerInfo => ({
  id: String(pid),
  host: 'box',
  pid,
  millrace: '0.1.0',
  node: '20',
  startedAt: 0,
  seenAt: 60_000,
  state,
  schedules: [],
  queues: [{ name: 'mail', concurrency: 10, active: 2 }],
  consumers: [{ stream: 'orders', group: 'billing', concurrency: 16, active: 0 }],
  running: [],
  eventLoopLagMs: 3.2,
  rssBytes: 90 * 1_048_576,
});
const look = (queues: number, workers: number): TopLook => ({
  at: 60_000,
  redis: 'redis://localhost:6379',
  queues: Array.from({ length: queues }, (_, at) => queueNamed(`queue-${at}`, at === 0 ? 4 : 0)),
  workers: Array.from({ length: workers }, (_, at) => workerOf(at, at === 0 ? 'silent' : 'running')),
});

describe('millrace top', () => {
  test('a frame tells queues and workers, and fits the terminal', () => {
    const all = frameOf(look(2, 2), { columns: Infinity });
    expect(all.slice(0, 2)).toEqual([
      'Millrace  redis://localhost:6379  00:01:00Z',
      '2 queues, 2 workers (1 silent), 4 of 52 slots busy',
    ]);
    expect(all[4]).toMatch(/^queue-0 +4 +2 +4 +1\.5 min +120$/);
    expect(all.at(-1)).toMatch(/^box:1 +running +mail, orders\/billing +2\/26 +3 ms +90 MB +1 min$/);
    for (const [queues, workers] of [
      [100, 100],
      [0, 50],
      [50, 1],
    ] as const) {
      const lines = frameOf(look(queues, workers), { columns: 70, rows: 20 });
      expect(lines.length).toBeLessThanOrEqual(20);
      expect(Math.max(...lines.map(widthOf))).toBeLessThanOrEqual(70);
      expect(lines.join('\n')).toMatch(/\.\.\. \d+ more/);
    }
    expect(all.join('')).not.toContain('\u001b');
    expect(frameOf(look(1, 1), { columns: 80, hasColours: true }).join('')).toContain('\u001b[31m');
    expect(frameOf({ ...look(0, 0) }, { columns: 80 }).join('\n')).toContain('no worker runs');
  });

  test('the live screen is drawn until q, tells what is wrong, and leaves the terminal as it was', async () => {
    const [input, output] = [new Keyboard(), new Screen()];
    let looks = 0;
    const live = showLive(
      async () => {
        looks += 1;
        if (looks === 2) throw new TypeError('Redis is away');
        return look(1, 1);
      },
      { input, output },
      5,
    );
    expect(output.text.startsWith('\u001b[?1049h\u001b[?25l')).toBe(true);
    expect(input.isRaw).toBe(true);
    await eventually(() => expect(output.text).toContain('Redis is away'));
    await eventually(() => expect(looks).toBeGreaterThan(2));
    output.emit('resize');
    input.write('q');
    await live;
    expect(output.text.endsWith('\u001b[?25h\u001b[?1049l')).toBe(true);
    expect(input.isRaw).toBe(false);
    expect(output.text.split('\u001b[?1049l'), 'once').toHaveLength(2);
  });

  test('Ctrl-C ends it too, also while a look does not answer', async () => {
    const [input, output] = [new Keyboard(), new Screen()];
    const live = showLive(() => once(output, 'never') as never, { input, output });
    input.write('\u0003');
    await live;
    expect(output.text.endsWith('\u001b[?25h\u001b[?1049l')).toBe(true);
  });
});
