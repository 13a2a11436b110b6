import { stripVTControlCharacters } from 'node:util';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { MillraceError } from '../src/errors.ts';
import { createLogger, scrubber, silentLogger, type Logger, type LogOptions } from '../src/log.ts';
import { startRedis, type TestServer } from './support/servers.ts';

/** A logger and the lines that it wrote. */
function collecting(options: LogOptions = {}): {
  log: Logger;
  lines: string[];
  entries: () => Record<string, unknown>[];
} {
  const lines: string[] = [];
  const log = createLogger({ format: 'json', destination: { write: (line) => void lines.push(line) }, ...options });
  return { log, lines, entries: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

describe('a logger', () => {
  test('writes a line of JSON for each entry, with the fields of its children', () => {
    const { log, lines, entries } = collecting();
    log.child({ module: 'cache' }).info({ key: 'a' }, 'loaded');
    log.warn('plain');
    expect(entries()).toMatchObject([
      { level: 30, module: 'cache', key: 'a', msg: 'loaded' },
      { level: 40, msg: 'plain' },
    ]);
    for (const line of lines) expect(line.endsWith('}\n')).toBe(true);
  });

  test.each([
    [undefined, ['info', 'warn', 'error', 'fatal']],
    ['trace', ['trace', 'debug', 'info', 'warn', 'error', 'fatal']],
    ['warn', ['warn', 'error', 'fatal']],
    ['fatal', ['fatal']],
    ['silent', []],
  ] as const)('of level %s writes %j', (level, written) => {
    const { log, entries } = collecting({ level });
    for (const name of ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const) log[name](name);
    expect(entries().map(({ msg }) => msg)).toEqual(written);
  });

  test('writes an error with its stack and its whole chain of causes', () => {
    const { log, entries } = collecting();
    const root = new Error('ECONNREFUSED');
    const error = new Error('no connection', { cause: new Error('all retries failed', { cause: root }) });
    log.error({ err: error }, 'down');
    log.error({ error }, 'down');
    const [entry] = entries() as [{ err: { stack: string } }];
    expect(entry.err.stack).toContain('log.test.ts');
    for (const line of entries())
      expect(JSON.stringify(line)).toMatch(/no connection.*all retries failed.*ECONNREFUSED/);
  });

  test('for people writes one readable line with time, level, module and text, and the fields below', () => {
    const { log, lines } = collecting({ format: 'pretty' });
    log.child({ module: 'cache' }).info({ key: 'a' }, 'loaded');
    log.warn('plain');
    const text = stripVTControlCharacters(lines.join(''));
    expect(text).toMatch(/^\[\d\d:\d\d:\d\d\] INFO: cache: loaded\n {4}key: "a"\n\[\d\d:\d\d:\d\d\] WARN: plain\n$/);
  });

  test.each<[string, object]>([
    [
      'createLogger: level: expected trace or debug or info or warn or error or fatal or silent, got "loud"',
      { level: 'loud' },
    ],
    ['createLogger: format: expected json or pretty, got "yaml"', { format: 'yaml' }],
    ['createLogger: unknown option levl, did you mean level?', { levl: 'info' }],
    ['createLogger: destination: expected an object with write(), got "stderr"', { destination: 'stderr' }],
    ['createLogger: secrets: expected array, got a string', { secrets: 'hunter22' }],
  ])('refuses bad options: %s', (message, options) => {
    expect(() => createLogger(options)).toThrow(
      expect.objectContaining<Partial<MillraceError>>({ code: 'OPTIONS_INVALID', message }),
    );
  });

  test('that nobody asked for writes nothing', () => {
    expect(silentLogger.isLevelEnabled('fatal')).toBe(false);
  });
});

describe('fields with a telling name', () => {
  test('are not written, up to three levels deep and in lists', () => {
    const { log, lines } = collecting();
    log.info({ password: 'hunter22', apiKey: 'hunter22' });
    log.info({ redis: { password: 'hunter22', sentinelPassword: 'hunter22' }, users: [{ token: 'hunter22' }] });
    log.info({ req: { headers: { authorization: 'hunter22', cookie: 'hunter22', 'set-cookie': ['hunter22'] } } });
    log.child({ secret: 'hunter22' }).info('child');
    expect(lines).toHaveLength(4);
    expect(lines.join('')).not.toContain('hunter22');
    expect(lines.join('').match(/\[secret\]/g)).toHaveLength(9);
  });
});

describe('given secrets', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  /** With quotes, a backslash and signs that a URL must encode. */
  const nasty = 'p"a\\ss/w:o#r d';

  test.each(['json', 'pretty'] as const)('are absent from the error of a refused AUTH (%s)', async (format) => {
    const { log, lines } = collecting({ format, secrets: ['hunter22'] });
    const error = await server.ask(async (redis) => redis.auth('hunter22').catch((refused: unknown) => refused));
    expect(error).toMatchObject({ command: { name: 'auth', args: ['hunter22'] } });
    log.error({ err: error }, 'refused');
    log.error(error);
    expect(lines.join('')).toContain('without any password');
    expect(lines.join('')).toContain('[secret]');
    expect(lines.join('')).not.toContain('hunter22');
  });

  test.each<[string, (log: Logger) => void]>([
    ['the text', (log) => log.info(`AUTH ${nasty}`)],
    ['a URL', (log) => log.info(`connecting to redis://user:${encodeURIComponent(nasty)}@host:6379/0`)],
    ['an object five levels deep', (log) => log.info({ a: { b: { c: { d: [{ e: `x${nasty}y` }] } } } })],
    ['the name of a field', (log) => log.info({ seen: { [nasty]: 1 } })],
    ['the fields of a child', (log) => log.child({ url: nasty }).child({ module: 'redis' }).info('connected')],
    ['JSON inside of a text', (log) => log.info(`options: ${JSON.stringify({ password: nasty })}`)],
    ['a cause of a cause', (log) => log.error(new Error('a', { cause: new Error('b', { cause: new Error(nasty) }) }))],
    ['a field of an error', (log) => log.error(Object.assign(new Error('refused'), { command: { args: [nasty] } }))],
    ['the stack of an error', (log) => log.error({ error: new Error(`refused: ${nasty}`) })],
  ])('are absent from %s', (_where, act) => {
    for (const format of ['json', 'pretty'] as const) {
      const { log, lines } = collecting({ format, secrets: [nasty] });
      act(log);
      const text = lines.join('');
      expect(text).toContain('[secret]');
      for (const piece of ['p"a', 'p\\"a', 'ss/w', 'w:o#r', 'p%22a', encodeURIComponent(nasty)])
        expect(text).not.toContain(piece);
    }
  });

  test('of which one contains the other are replaced as a whole', () => {
    const { log, entries } = collecting({ secrets: ['hunter', 'hunter22'] });
    log.info('a hunter22, a hunter');
    expect(entries()).toMatchObject([{ msg: 'a [secret], a [secret]' }]);
  });

  test('of under 4 characters are left alone, because they are in every line', () => {
    expect(scrubber(['', 'a', 'abc'])).toBeUndefined();
    const { log, entries } = collecting({ secrets: ['a', 'app'] });
    log.info('an app');
    expect(entries()).toMatchObject([{ msg: 'an app' }]);
  });

  test('of digits do not break the numbers of a line', () => {
    const { log, entries } = collecting({ secrets: ['1234'] });
    log.info({ sizeBytes: 9_123_456, password: 1, given: 1234 }, 'pin 1234');
    expect(entries()).toMatchObject([{ level: 30, sizeBytes: 9_123_456, given: '[secret]', msg: 'pin [secret]' }]);
  });

  test('whatever they are: no text of the line has them, and the line stays JSON with the same fields', () => {
    const secret = fc
      .string({ minLength: 4, maxLength: 20, unit: 'grapheme' })
      .filter((text) => !'[secret]'.includes(text));
    fc.assert(
      fc.property(secret, fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }), (hidden, before, after) => {
        const line = `${JSON.stringify({ level: 30, sizes: [1, null, true], msg: before + hidden + after })}\n`;
        const scrubbed = scrubber([hidden])?.(line) ?? '';
        const entry = JSON.parse(scrubbed) as { msg: string };
        expect(Object.keys(entry)).toHaveLength(3);
        expect(entry.msg.split('[secret]').filter((rest) => rest.includes(hidden))).toEqual([]);
      }),
    );
  });

  test('a line without any is written as it is', () => {
    const line = '{"b":1,"a":1.50,"b":2}\n';
    expect(scrubber(['hunter22'])?.(line)).toBe(line);
  });
});
