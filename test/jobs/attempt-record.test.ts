import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ATTEMPT_LIMITS,
  ATTEMPT_OUTCOMES,
  DEATH_REASONS,
  formatAttempt,
  parseAttempt,
  type AttemptRecord,
} from '../../src/jobs/attempt-record.ts';
import { describeError, wellFormed } from '../../src/describe-error.ts';

const record: AttemptRecord = {
  attempt: 2,
  outcome: 'failed',
  startedAt: 1_767_225_600_000,
  endedAt: 1_767_225_601_500,
  worker: 'mail-7:41',
  host: 'mail-7',
  version: '3.1.0',
  contractVersion: 4,
  error: {
    name: 'MailRefused',
    message: 'mailbox of user 17 is full',
    code: 'EMAILBOX',
    stack: 'MailRefused: mailbox of user 17 is full\n    at send (/app/send.ts:4:9)',
  },
  reason: 'attempts',
  log: ['connected', 'refused\nwith a reason'],
};

/** Text as programs meet it: any characters, halves of them, line breaks, and our own mark. */
const anyText = (maxLength: number): fc.Arbitrary<string> =>
  fc.oneof(
    fc.string({ unit: 'binary', maxLength, size: 'max' }),
    fc.array(fc.nat({ max: 0xff_ff }), { maxLength }).map((units) => String.fromCharCode(...units)),
    fc
      .array(
        fc.constantFrom(
          '\n',
          '\r\n',
          '#attempt ',
          '\n#attempt {"attempt":9,"log":[]}',
          '"',
          '\\',
          '    at f (x:1:1)',
          'é',
          '\u2028',
        ),
      )
      .map((parts) => parts.join('').slice(0, maxLength)),
  );
const wholeText = (maxLength: number): fc.Arbitrary<string> =>
  anyText(maxLength).map((text) => wellFormed(text.slice(0, maxLength)));

const recordOf = (text: (max: number) => fc.Arbitrary<string>, times: number): fc.Arbitrary<AttemptRecord> =>
  fc.record(
    {
      attempt: fc.nat(),
      outcome: fc.constantFrom(...ATTEMPT_OUTCOMES),
      startedAt: fc.maxSafeNat(),
      endedAt: fc.maxSafeNat(),
      worker: text(ATTEMPT_LIMITS.worker * times),
      host: text(ATTEMPT_LIMITS.host * times),
      version: text(ATTEMPT_LIMITS.version * times),
      contractVersion: fc.nat(),
      error: fc.record(
        {
          name: text(ATTEMPT_LIMITS.name * times),
          message: text(ATTEMPT_LIMITS.message * times),
          code: text(ATTEMPT_LIMITS.code * times),
          stack: text(ATTEMPT_LIMITS.stack * times),
        },
        { requiredKeys: ['name', 'message', 'stack'] },
      ),
      reason: fc.constantFrom(...DEATH_REASONS),
      log: fc.array(text(ATTEMPT_LIMITS.logLine * times), { maxLength: ATTEMPT_LIMITS.logLines * times }),
    },
    { requiredKeys: ['attempt', 'outcome', 'log'] },
  );

describe('an attempt as text', () => {
  test('is a readable stack and one line for programs, which does not repeat it', () => {
    const lines = formatAttempt(record).split('\n');
    expect(lines.slice(0, 2)).toEqual(record.error?.stack.split('\n'));
    expect(lines).toHaveLength(3);
    expect(lines[2]).toMatch(/^#attempt \{"attempt":2,"outcome":"failed",/);
    expect(lines[2]).not.toContain('send.ts');
  });

  test('is read back as it was', () => {
    expect(parseAttempt(formatAttempt(record))).toEqual(record);
  });

  test('is read back as it was, whatever its texts are', () => {
    fc.assert(
      fc.property(recordOf(wholeText, 1), (any) => {
        expect(parseAttempt(formatAttempt(any))).toEqual(any);
      }),
    );
  });

  test('of any record is bounded and well-formed, and formatting it again changes nothing', () => {
    fc.assert(
      fc.property(recordOf(anyText, 2), (any) => {
        const text = formatAttempt(any);
        expect(text).not.toMatch(/\p{Surrogate}/u);
        const back = parseAttempt(text);
        expect(back).toMatchObject({ attempt: any.attempt, outcome: any.outcome });
        const { error, log = [], worker = '', host = '', version = '' } = back ?? {};
        for (const [kind, value] of Object.entries({ worker, host, version, ...error })) {
          expect(value.length).toBeLessThanOrEqual(ATTEMPT_LIMITS[kind as 'host']);
        }
        expect(log.length).toBeLessThanOrEqual(ATTEMPT_LIMITS.logLines);
        for (const line of log) expect(line.length).toBeLessThanOrEqual(ATTEMPT_LIMITS.logLine);
        expect(back && formatAttempt(back)).toBe(text);
      }),
    );
  });

  test('keeps the last lines of a long log', () => {
    const log = Array.from({ length: 50 }, (_, index) => `line ${index}`);
    expect(parseAttempt(formatAttempt({ ...record, log }))?.log).toEqual(log.slice(-20));
  });

  test('takes whatever was thrown', () => {
    fc.assert(
      fc.property(fc.anything({ withNullPrototype: true }), (thrown) => {
        const error = describeError(thrown);
        expect(parseAttempt(formatAttempt({ ...record, error }))).toEqual({ ...record, error });
      }),
    );
  });
});

describe('text that another program wrote', () => {
  test.each<[string, { name: string; message: string; code?: string }]>([
    [
      'UnrecoverableError: job stalled more than allowable limit\n    at Worker.f (/app/node_modules/bullmq/worker.js:1:2)',
      { name: 'UnrecoverableError', message: 'job stalled more than allowable limit' },
    ],
    [
      'TypeError [ERR_INVALID_ARG_TYPE]: bad\nargument\n    at f (/app/x.js:1:2)',
      { name: 'TypeError', message: 'bad\nargument', code: 'ERR_INVALID_ARG_TYPE' },
    ],
    ['RangeError', { name: 'RangeError', message: '' }],
    ['it just broke', { name: 'Error', message: 'it just broke' }],
    ['Error: x\n#attempt {not json', { name: 'Error', message: 'x\n#attempt {not json' }],
    ['Error: x\n#attempt [1]', { name: 'Error', message: 'x\n#attempt [1]' }],
  ])('%j tells name, message and stack', (stack, error) => {
    expect(parseAttempt(stack)).toEqual({ attempt: 0, outcome: 'failed', error: { ...error, stack }, log: [] });
  });

  test('tells nothing when it is blank', () => {
    expect(parseAttempt('')).toBeUndefined();
    expect(parseAttempt(' \n')).toBeUndefined();
  });

  test('of another release keeps what both know', () => {
    const facts = { attempt: 3, outcome: 'evaporated', startedAt: 'noon', host: 'a', reason: 'bored', colour: 'red' };
    expect(parseAttempt(`Error: x\n#attempt ${JSON.stringify(facts)}`)).toEqual({
      attempt: 3,
      outcome: 'failed',
      host: 'a',
      error: { name: 'Error', message: 'x', stack: 'Error: x' },
      log: [],
    });
  });

  test('never makes the reader throw', () => {
    fc.assert(
      fc.property(anyText(2_000), fc.json(), (text, json) => {
        expect(parseAttempt(`${text}\n#attempt ${json}`)?.attempt).toBeGreaterThanOrEqual(0);
        expect(parseAttempt(text)?.error?.stack.length ?? 0).toBeLessThanOrEqual(ATTEMPT_LIMITS.stack);
      }),
    );
  });
});
