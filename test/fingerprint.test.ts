import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { describeError } from '../src/describe-error.ts';
import { fingerprintOf, normaliseMessage } from '../src/fingerprint.ts';

const stackOf = (...frames: readonly string[]): string =>
  `Error: lost\n${frames.map((frame) => `    at ${frame}`).join('\n')}`;
const printOf = (...frames: readonly string[]): string =>
  fingerprintOf({ name: 'Error', message: 'lost', stack: stackOf(...frames) });
const messagePrint = (message: string): string => fingerprintOf({ name: 'Error', message, stack: `Error: ${message}` });

const framesAt = ([folder, line, column]: [string, number, number]): string => {
  const slash = folder.startsWith('C') ? '\\' : '/';
  const at = (file: string): string => `${[folder, 'src', file].join(slash)}:${line}:${column}`;
  return printOf(`send (${at('send.ts')})`, `async Mailer.run (${at('mailer.ts')})`, at('main.ts'));
};

const printWithFrame = (id: number): string => {
  const message = `bad template\n    at f${id} (/app/t${id}.ts:1:1)`;
  return fingerprintOf({ name: 'Error', message, stack: `Error: ${message}\n    at g (/app/b.ts:1:1)` });
};

const failOf = (id: number): string => fingerprintOf(describeError(new RangeError(`user ${id} not found`)));

const printOfClass = (of: string): string => fingerprintOf({ name: of, message: 'lost', stack: '' });

describe('a message', () => {
  test.each([
    ['user 17 not found', 'user <number> not found'],
    ['-5 is under 0.5 and 1,234.5 over 45%', '<number> is under <number> and <number> over <number>'],
    ['no order-17 of cus_9xK2mQ11', 'no order-<number> of cus_<id>'],
    ['507f1f77bcf86cd799439011 or 0xDEADBEEF', '<hex> or <hex>'],
    ['f47ac10b-58cc-4372-a567-0e02b2c3d479 gone', '<uuid> gone'],
    ['V1StGXR8_Z5jdHi6B-myT and 01ARZ3NDEKTSV4RRFFQ69G5FAV', '<id> and <id>'],
    ['connect ECONNREFUSED 10.0.0.4:6379', 'connect ECONNREFUSED <ip>'],
    ['connect ECONNREFUSED ::1:5432', 'connect ECONNREFUSED <ip>'],
    ['connect ETIMEDOUT 2001:db8:0:1:1:1:1:1', 'connect ETIMEDOUT <ip>'],
    ['timeout of 5000ms exceeded after 1.5 s', 'timeout of <duration> exceeded after <duration>'],
    ['payload of 12.5 MB is over 256 KB', 'payload of <size> is over <size>'],
    ['from 2026-01-02T03:04:05.678Z to 2026-01-03 at 12:30:45', 'from <date> to <date> at <time>'],
    ['mail to jo.do+x@example.co.uk bounced', 'mail to <email> bounced'],
    [`ENOENT: no such file, open '/data/up/17.pdf'`, 'ENOENT: no such file, open <path>'],
    ['cannot read C:\\app\\x\\y.txt or /var/lib/x', 'cannot read <path> or <path>'],
    ['unknown plan "gold" of `acme`', 'unknown plan <text> of <text>'],
    ['ids 1, 2, 3 are gone', 'ids <number>... are gone'],
    ['https://u:p@api.example.com:443/v1/users/17?x=3 failed', 'https://api.example.com/v1/users/<id> failed'],
    ['redis://10.0.0.1:6379/0 failed', 'redis://<ip>/<id> failed'],
    ['GET /users/17?x=1 gave nothing', 'GET /users/<id> gave nothing'],
    ['two\n  lines', 'two lines'],
    ['\u001B[31mred 5\u001B[39m', 'red <number>'],
    // What tells failures apart stays.
    ['Request failed with status code 404', 'Request failed with status code 404'],
    ['exited with code 137', 'exited with code 137'],
    [`Cannot read properties of undefined (reading 'id')`, `Cannot read properties of undefined (reading 'id')`],
    ["can't do John's work and/or Foo::bar", "can't do John's work and/or Foo::bar"],
    ['', ''],
  ])('%j is shown as %j', (message, shown) => {
    expect(normaliseMessage(message)).toBe(shown);
  });

  test('of any length is shown short and read quickly', () => {
    const hostile = [
      '1.',
      '"',
      "'",
      '`',
      '0:',
      'a@',
      '/a',
      'a-',
      '1,',
      '\\',
      'GET /',
      'http://',
      '::',
      'a_1',
      '<number> ',
    ];
    for (const part of hostile) expect(normaliseMessage(part.repeat(100_000)).length).toBeLessThanOrEqual(256);
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 500, size: 'max' }), (message) => {
        expect(normaliseMessage(message).length).toBeLessThanOrEqual(256);
      }),
    );
  });
});

describe('failures are one', () => {
  const word = fc.stringMatching(/^[a-z]{2,9}$/);
  const varying: ReadonlyArray<fc.Arbitrary<string>> = [
    fc.nat().map(String),
    fc.uuid(),
    fc.ipV4(),
    fc.emailAddress({ size: 'small' }).filter((address) => /^[\w.+-]+@/.test(address)),
    fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) }).map((date) => date.toISOString()),
    fc.stringMatching(/^[0-9]{3}[a-f][0-9a-f]{20}$/),
    fc.nat().map((count) => `${count}ms`),
    fc.stringMatching(/^'[a-z 0-9]{1,20}'$/),
    fc.nat().map((count) => `https://api.example.com/orders/${count}?at=${count * 7}`),
    fc.nat().map((count) => `job-${count}`),
  ];

  test('whatever numbers, ids, addresses and times the message has', () => {
    const kinds = fc.constantFrom(...varying);
    fc.assert(
      fc.property(
        kinds.chain((kind) => fc.tuple(kind, kind)),
        fc
          .tuple(word, word)
          .filter(
            ([before]) => !['code', 'status', 'errno', 'reading', 'setting', 'property', 'access'].includes(before),
          ),
        ([one, other], [before, after]) => {
          expect(messagePrint(`${before} ${one} ${after}`)).toBe(messagePrint(`${before} ${other} ${after}`));
        },
      ),
    );
  });

  test('whatever lines, columns and folders the stack has', () => {
    const place = fc.tuple(
      fc.constantFrom('/app', '/srv/mail v2', 'file:///app', 'C:\\app', 'file:///C:/app', ''),
      fc.nat(),
      fc.nat(),
    );
    fc.assert(
      fc.property(place, place, (one, other) => {
        expect(framesAt(one)).toBe(framesAt(other));
      }),
    );
  });

  test.each<[string, readonly string[], readonly string[]]>([
    ['with the sources compiled', ['f (/app/src/send.ts:1:2)'], ['f (/app/dist/send.js:9:9)']],
    ['with a bundle hashed anew', ['f (/app/main-4f3e2a1b.js:1:2)'], ['f (/app/main-9c8d7e6f.js:1:2)']],
    ['awaited or not', ['f (/app/send.ts:1:2)'], ['async f (/app/send.ts:1:2)']],
    [
      'with packages between',
      ['f (/app/a.ts:1:2)', 'g (/app/b.ts:1:2)'],
      ['f (/app/a.ts:1:2)', 'h (/app/node_modules/pg/x.js:1:2)', 'g (/app/b.ts:1:2)'],
    ],
    [
      'with other frames of Node',
      ['f (/app/a.ts:1:2)'],
      [
        'node:internal/process/task_queues:95:5',
        'f (/app/a.ts:1:2)',
        'async Promise.all (index 0)',
        'new Promise (<anonymous>)',
        'Array.map (<anonymous>)',
      ],
    ],
    ['however deep it recurs', ['f (/app/a.ts:1:2)'], ['f (/app/a.ts:1:2)', 'f (/app/a.ts:1:2)', 'f (/app/a.ts:3:2)']],
    [
      'beyond the fifth frame',
      ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => `${name} (/app/a.ts:1:2)`),
      ['a', 'b', 'c', 'd', 'e', 'g'].map((name) => `${name} (/app/a.ts:1:2)`),
    ],
    [
      'without a name',
      ['/app/a.ts:1:2'],
      ['Object.<anonymous> (/app/a.ts:1:2)'].map((frame) => frame.replace('Object.<anonymous>', '<anonymous>')),
    ],
    ['as a method by another name', ['Job.run (/app/a.ts:1:2)'], ['Job.run [as handler] (/app/a.ts:1:2)']],
    ['in evaluated code', ['f (/app/a.ts:1:2)'], ['f (eval at g (/other/a.ts:1:2), <anonymous>:1:1)']],
  ])('%s', (_name, one, other) => {
    expect(printOf(...one)).toBe(printOf(...other));
  });

  test('though the message has lines like frames', () => {
    expect(printWithFrame(1)).toBe(printWithFrame(2));
  });

  test('of real errors thrown at one place', () => {
    expect(failOf(17)).toBe(failOf(42));
  });
});

describe('failures are two', () => {
  test('of different classes', () => {
    const name = fc.stringMatching(/^[A-Z][a-zA-Z]{1,20}$/);
    fc.assert(
      fc.property(name, name, (one, other) => {
        fc.pre(one !== other);
        expect(printOfClass(one)).not.toBe(printOfClass(other));
      }),
    );
  });

  test('of different words', () => {
    const words = fc
      .array(fc.stringMatching(/^[a-z]{1,9}$/), { minLength: 1, maxLength: 6 })
      .map((all) => all.join(' '));
    fc.assert(
      fc.property(words, words, (one, other) => {
        fc.pre(one !== other);
        expect(messagePrint(one)).not.toBe(messagePrint(other));
      }),
    );
  });

  test('of different contracts, files and functions', () => {
    const failure = { name: 'Error', message: 'lost', stack: stackOf('f (/app/a.ts:1:2)') };
    const prints = [
      fingerprintOf(failure),
      fingerprintOf({ ...failure, contract: 'send-email' }),
      fingerprintOf({ ...failure, contract: 'charge' }),
      printOf('f (/app/b.ts:1:2)'),
      printOf('g (/app/a.ts:1:2)'),
      printOf('f (/app/a.ts:1:2)', 'g (/app/a.ts:1:2)'),
    ];
    expect(new Set(prints).size).toBe(prints.length);
  });

  test('of different places, told by the cause where the error itself has none of ours', () => {
    const outer = '    at fetch (node:internal/deps/undici:1:2)';
    const cause = (file: string): string => `${outer}\ncaused by: Error: x\n    at f (/app/${file}.ts:1:2)`;
    const print = (file: string): string =>
      fingerprintOf({ name: 'TypeError', message: 'fetch failed', stack: `TypeError: fetch failed\n${cause(file)}` });
    expect(print('a')).not.toBe(print('b'));
  });
});

test('any text has a fingerprint', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc
      .array(fc.constantFrom('\n', '    at ', 'async ', ' (', ')', ':1:2', 'eval at ', '/a.ts', '<anonymous>', '?'))
      .map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(text, text, text, (name, message, stack) => {
      expect(fingerprintOf({ name, message, stack })).toMatch(/^[\da-f]{16}$/);
    }),
    { numRuns: 500 },
  );
});
