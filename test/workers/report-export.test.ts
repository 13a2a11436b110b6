/** What `report.export` writes: whole and once whoever is killed, one at a time per user, and harmless to spreadsheets. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock, unrecoverable, type Platform } from '../../src/index.ts';
import {
  createReportHandler,
  report,
  reportExport,
  type AnyReport,
  type ReportOptions,
  type ReportResult,
} from '../../workers/index.ts';
import { csvField } from '../../workers/report/format.ts';
import { PartFile } from '../../workers/report/part-file.ts';
import { startChild } from '../support/child.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folders.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { linesOf, numbers } from './report-scene.ts';
import { ends, faultsOf, impatient, letterOf, QUICK, startPlatform } from './scene.ts';

const own = ownedByTest();
const root = temporaryFolder();
let folders = 0;
let redis: TestServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

function newFolder(): string {
  const folder = join(root, String((folders += 1)));
  mkdirSync(folder);
  return folder;
}

interface Scene {
  platform: Platform & { prefix: string };
  folder: string;
}

async function working(
  reports: Record<string, AnyReport>,
  options: Partial<ReportOptions> = {},
  { folder = newFolder(), prefix }: { folder?: string; prefix?: string } = {},
): Promise<Scene> {
  const platform = await startPlatform(own, redis.url, prefix === undefined ? {} : { prefix });
  const handler = createReportHandler({ reports, folder, lease: '1s', pieceBytes: 4_000, ...options });
  await platform.work({ ...QUICK, handlers: [impatient(handler)] });
  return { platform, folder };
}

function read(folder: string, { file }: Pick<ReportResult, 'file'>): string {
  return readFileSync(join(folder, file), 'utf8');
}

/** The finished files. */
function filesIn(folder: string): string[] {
  return readdirSync(folder).filter((name) => name !== '.parts');
}

describe('a report', () => {
  test('is a file with its rows, and the result tells what it is', async () => {
    const { platform, folder } = await working(numbers(1_000));
    const { id } = await platform.jobs.enqueue(reportExport, { report: 'numbers', user: 'ada' });
    const info = await ends(platform, id, 'completed');
    const result = info.result as ReportResult;
    expect(read(folder, result)).toBe(linesOf(1_000));
    const sha256 = createHash('sha256').update(linesOf(1_000)).digest('hex');
    expect(result).toMatchObject({ rows: 1_000, bytes: linesOf(1_000).length, sha256 });
    expect(info.progress).toEqual({ rows: 1_000, bytes: result.bytes });
    expect([filesIn(folder), readdirSync(join(folder, '.parts'))]).toEqual([[result.file], []]);
    expect(reportExport.secrets).toEqual(['params']);
  });

  test('is asked for with parameters, in CSV or as a JSON object a line', async () => {
    const sales = report({
      params: z.object({ month: z.string().regex(/^\d{4}-\d\d$/) }),
      rows: ({ month }) => [
        { id: 1n, at: new Date(0), customer: '=cmd|calc', note: 'a "b",\nc', cents: -5, extra: { a: 1n } },
        { id: 2n, at: null, customer: month, note: ' x', cents: 7, extra: undefined },
      ],
      columns: ['id', 'at', 'customer', 'note', { name: 'total', value: ({ cents }) => cents / 100 }, 'extra'],
    });
    const { platform, folder } = await working(
      { sales, empty: report({ rows: () => [], columns: ['+a'] }) },
      { bom: true },
    );
    const ask = (name: string, format: 'csv' | 'jsonl'): Promise<ReportResult> =>
      platform.jobs.enqueueAndWait(reportExport, { report: name, user: 'ada', format, params: { month: '2026-10' } });
    expect(read(folder, await ask('sales', 'csv'))).toBe(
      '\uFEFFid,at,customer,note,total,extra\r\n' +
        `1,1970-01-01T00:00:00.000Z,'=cmd|calc,"a ""b"",\nc",-0.05,"{""a"":""1""}"\r\n` +
        '2,,2026-10," x",0.07,\r\n',
    );
    expect(read(folder, await ask('sales', 'jsonl')).split('\n')).toEqual([
      '{"id":"1","at":"1970-01-01T00:00:00.000Z","customer":"=cmd|calc","note":"a \\"b\\",\\nc","total":-0.05,"extra":{"a":"1"}}',
      '{"id":"2","at":null,"customer":"2026-10","note":" x","total":0.07}',
      '',
    ]);
    expect(read(folder, await ask('empty', 'csv'))).toBe("\uFEFF'+a\r\n");
    expect(read(folder, await ask('empty', 'jsonl'))).toBe('');
  });

  test('that nobody has, or with bad parameters, is a dead letter that says so', async () => {
    const bare = report({ rows: () => [{ a: 1 }], params: z.object({ month: z.string() }) });
    const { platform } = await working({ bare });
    const death = async (input: object): Promise<string> => {
      const { id } = await platform.jobs.enqueue(reportExport, {
        report: 'bare',
        user: 'ada',
        format: 'jsonl',
        ...input,
      });
      const { reason, error } = await letterOf(platform, id);
      expect(reason).toBe('unrecoverable');
      return error.message;
    };
    expect(await death({ report: 'x' })).toBe('there is no report named x; this worker has: bare');
    expect(await death({ format: 'csv' })).toBe('report bare has no columns, which CSV needs; ask for jsonl');
    expect(await death({ params: { month: 7 } })).toMatch(/^params of report bare does not match its schema: month: /);
    expect(await faultsOf(reportExport, { report: 'a', user: 'b', format: 'xls' })).toEqual(['format']);
    const folder = join(newFolder(), 'file');
    writeFileSync(folder, '');
    expect(() => createReportHandler({ reports: { bare }, folder })).toThrow(
      /folder: expected a folder that can be written/,
    );
  });

  test.each([
    ['=1+1', `'=1+1`],
    ['-2', `'-2`],
    [-2, '-2'],
    ['@SUM(A1)', `'@SUM(A1)`],
    ['\t=1', `"'\t=1"`],
    [' +1', `' +1`],
    ['\uFF1D1', `'\uFF1D1`],
    ['a=b', 'a=b'],
    ['a;b', '"a;b"'],
    ['x"y', '"x""y"'],
  ])('holds %j as %j', (value, field) => expect(csvField(value, true)).toBe(field));

  test('of texts as they are, where the guard is off', () => expect(csvField('=1+1', false)).toBe('=1+1'));
});

describe('a worker that is killed', () => {
  test('while it writes leaves a file that is gone on with: whole, and each row once', async () => {
    const { jobs, prefix } = await startPlatform(own, redis.url);
    const folder = newFolder();
    const first = own(startChild('../workers/report-process', [redis.url, prefix, folder, 'slow']));
    await first.says('ready');
    const { id } = await jobs.enqueue(reportExport, { report: 'numbers', user: 'ada' });
    await first.says('row 500');
    first.signal('SIGKILL');
    await first.ended;
    const begun: number[] = [];
    const reports = numbers(2_000, (_id, after) => void begun.push(after));
    const { platform } = await working(reports, {}, { folder, prefix });
    const { result } = await ends(platform, id, 'completed');
    expect(read(folder, result as ReportResult)).toBe(linesOf(2_000));
    expect(result).toMatchObject({ rows: 2_000, sha256: createHash('sha256').update(linesOf(2_000)).digest('hex') });
    expect(begun[0]).toBeGreaterThan(0);
    expect(filesIn(folder)).toHaveLength(1);
  });

  test('when the file has its name, before anybody knows, leaves one file, which the next attempt tells', async () => {
    const { jobs, prefix } = await startPlatform(own, redis.url);
    const folder = newFolder();
    const first = own(startChild('../workers/report-process', [redis.url, prefix, folder, 'published']));
    const { id } = await jobs.enqueue(reportExport, { report: 'numbers', user: 'ada' });
    expect(await first.ended).toBe('SIGKILL');
    const { platform } = await working(numbers(2_000), {}, { folder, prefix });
    const { result } = await ends(platform, id, 'completed');
    expect(filesIn(folder)).toEqual([(result as ReportResult).file]);
    expect(read(folder, result as ReportResult)).toBe(linesOf(2_000));
  });
});

test('a user has one report written at a time; others wait and use up no attempt, those of other users do not wait', async () => {
  let release: (() => void) | undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const running: string[] = [];
  let most = 0;
  const slow = report({
    async *rows(_params, { user }) {
      running.push(user);
      most = Math.max(most, running.filter((one) => one === 'ada').length);
      await gate;
      yield { user };
      running.splice(running.indexOf(user), 1);
    },
    columns: ['user'],
  });
  const { platform } = await working({ slow });
  const users = ['ada', 'ada', 'ada', 'bob'];
  const added = await platform.jobs.enqueueMany(
    reportExport,
    users.map((user) => ({ report: 'slow', user })),
  );
  await eventually(() => expect(running.toSorted()).toEqual(['ada', 'bob']));
  await eventually(async () => {
    const infos = await Promise.all(added.map(({ id }) => platform.jobs.get(id)));
    expect(infos.filter((info) => info?.state === 'delayed')).toHaveLength(2);
  });
  release?.();
  const infos = await Promise.all(added.map(({ id }) => ends(platform, id, 'completed')));
  expect(infos.map(({ attemptsMade }) => attemptsMade)).toEqual([1, 1, 1, 1]);
  expect(most).toBe(1);
});

test('a holder that was overtaken cannot write into the file of its successor', async () => {
  const folder = newFolder();
  const { signal } = new AbortController();
  const open = async (fence: number, shape = 's'): Promise<PartFile> => {
    const file = await PartFile.open({ folder, job: 'job', fence, asked: 'a', shape }, signal);
    if (!(file instanceof PartFile)) throw new TypeError('it is whole already');
    own({ stop: () => file.close().catch(() => undefined) });
    return file;
  };
  const older = await open(1);
  await older.append({ text: 'a\n', rows: 1, cursor: 1 });
  const newer = await open(2);
  expect(newer.record).toMatchObject({ bytes: 2, rows: 1, cursor: 1 });
  await older.append({ text: 'OLD\n', rows: 1, cursor: 2 });
  await newer.append({ text: 'b\n', rows: 1, cursor: 2 });
  await expect(older.publish('older.csv')).rejects.toThrow(/ENOENT/);
  // One that begins late takes nothing away from it.
  await open(0);
  const next = await open(3);
  expect(next.record).toMatchObject({ bytes: 4, rows: 2 });
  const { whole } = await next.publish('next.csv');
  expect(readFileSync(join(folder, 'next.csv'), 'utf8')).toBe('a\nb\n');
  expect(whole.sha256).toBe(createHash('sha256').update('a\nb\n').digest('hex'));
  // Whole is whole, whoever asks again.
  expect(await PartFile.open({ folder, job: 'job', fence: 4, asked: 'a', shape: 'other' }, signal)).toMatchObject({
    whole,
    rows: 2,
  });
});

test('what was written in another shape, or without a cursor, is begun anew', async () => {
  let isFirst = true;
  const flaky = report<{ id: number }>({
    async *rows() {
      for (let id = 1; id <= 300; id++) {
        if (id === 200 && isFirst) {
          isFirst = false;
          throw new TypeError('the database has gone away');
        }
        yield { id };
      }
    },
    columns: ['id'],
  });
  const { platform, folder } = await working({ flaky }, { pieceBytes: 100 });
  const { id } = await platform.jobs.enqueue(reportExport, { report: 'flaky', user: 'ada' });
  const { result, attemptsMade } = await ends(platform, id, 'completed');
  expect([attemptsMade, result]).toEqual([2, expect.objectContaining({ rows: 300 })]);
  const lines = read(folder, result as ReportResult).split('\r\n');
  expect([lines.length, lines[1], lines[300]]).toEqual([302, '1', '300']);
});

test('what was written for another input is not gone on with, when a dead letter is redriven with this one', async () => {
  const months = report<{ id: number; month: unknown }, { month?: unknown }>({
    *rows({ month }, { after }) {
      for (let id = Number(after ?? 0) + 1; id <= 20; id++) {
        if (month === 'bad' && id === 10) throw unrecoverable('no such month');
        yield { id, month };
      }
    },
    cursor: ({ id }) => id,
    columns: ['month'],
  });
  const { platform, folder } = await working({ months }, { pieceBytes: 10 });
  const input = { report: 'months', user: 'ada', params: { month: 'bad' } };
  const { id } = await platform.jobs.enqueue(reportExport, input);
  const letter = await letterOf(platform, id);
  expect(readdirSync(join(folder, '.parts'))).toHaveLength(1);
  await platform.deadLetters.redrive(letter.id, { edit: () => ({ ...input, params: { month: 'good' } }) });
  const { result } = await ends(platform, id, 'completed');
  expect(read(folder, result as ReportResult)).toBe(`month\r\n${'good\r\n'.repeat(20)}`);
});

test('files that are older than they are kept for are removed, and nothing else', async () => {
  const folder = newFolder();
  const fence = '1700000000000000';
  const long = (systemClock.wallMs() - 8 * 86_400_000) / 1_000;
  mkdirSync(join(folder, '.parts'));
  for (const name of [`sales-a-${fence}.csv`, 'sales-2026-10.csv', '.parts/gone', `sales-b-${fence}.csv`]) {
    writeFileSync(join(folder, name), '');
    if (!name.startsWith('sales-b')) utimesSync(join(folder, name), long, long);
  }
  const { platform } = await working(numbers(1), {}, { folder });
  const { file } = await platform.jobs.enqueueAndWait(reportExport, { report: 'numbers', user: 'ada' });
  expect(filesIn(folder).toSorted()).toEqual(['sales-2026-10.csv', `sales-b-${fence}.csv`, file].toSorted());
  expect(readdirSync(join(folder, '.parts'))).toEqual([]);
});
