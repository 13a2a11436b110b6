import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { MillraceError } from '../../src/errors.ts';
import { formatHostPort, parseAddress, parseHostPort, secretsOf, type RedisOptions } from '../../src/redis/address.ts';
import type { Fault } from '../../src/schema.ts';

const URL_FORMS = 'expected redis://host:port, rediss://host:port or unix:///path/redis.sock, got';

function refusal(options: object): MillraceError {
  try {
    parseAddress(options);
  } catch (error) {
    return error as MillraceError;
  }
  throw new Error(`it was not refused: ${JSON.stringify(options)}`);
}

const faultsOf = (options: object): Fault[] => refusal(options).facts['faults'] as Fault[];

/** What a user sees of an address, read or refused. */
function told(url: string): string {
  try {
    const { endpoint, label } = parseAddress({ url });
    return 'socketPath' in endpoint ? '' : label; // A path may have any sign, and is no secret.
  } catch (error) {
    return `${(error as MillraceError).code} ${(error as MillraceError).message}`;
  }
}

describe('a URL', () => {
  test.each<[string, object]>([
    ['redis://a', { endpoint: { topology: 'standalone', host: 'a', port: 6379 }, database: 0, tls: undefined }],
    ['redis://a/', { endpoint: { topology: 'standalone', host: 'a', port: 6379 }, database: 0 }],
    ['redis://a.b-c_d:7000/3', { endpoint: { topology: 'standalone', host: 'a.b-c_d', port: 7000 }, database: 3 }],
    ['rediss://a:7000', { endpoint: { topology: 'standalone', host: 'a', port: 7000 }, tls: {} }],
    ['REDIS://A', { endpoint: { topology: 'standalone', host: 'A', port: 6379 } }],
    ['redis://[::1]:7000/1', { endpoint: { topology: 'standalone', host: '::1', port: 7000 }, database: 1 }],
    ['redis://ann:secret@a', { username: 'ann', password: 'secret' }],
    ['redis://:secret@a', { username: undefined, password: 'secret' }],
    ['redis://ann@a', { username: 'ann', password: undefined }],
    ['redis://ann:@a', { username: 'ann', password: undefined }],
    ['redis://@a', { username: undefined, password: undefined }],
    ['redis://a%3An:p%2Fw%40%3A%25@a', { username: 'a:n', password: 'p/w@:%' }],
    ['redis://:p:w@d@a', { password: 'p:w@d' }],
    ['redis://:100%@a', { password: '100%' }],
    ['unix:///tmp/redis.sock', { endpoint: { topology: 'standalone', socketPath: '/tmp/redis.sock' } }],
    ['redis+unix:///tmp/redis.sock', { endpoint: { topology: 'standalone', socketPath: '/tmp/redis.sock' } }],
    ['unix:///tmp/a%20b%3F', { endpoint: { topology: 'standalone', socketPath: '/tmp/a b?' } }],
    ['/tmp/a b%20c.sock', { endpoint: { topology: 'standalone', socketPath: '/tmp/a b%20c.sock' } }],
  ])('%s is read', (url, expected) => {
    expect(parseAddress({ url })).toMatchObject(expected);
  });

  test('any user and password that are percent-encoded come out as they were', () => {
    const text = fc.string({ minLength: 1, unit: 'grapheme' });
    fc.assert(
      fc.property(text, text, (username, password) => {
        const url = `redis://${encodeURIComponent(username)}:${encodeURIComponent(password)}@host:7000/2`;
        expect(parseAddress({ url })).toMatchObject({ username, password, label: 'redis://host:7000/2' });
        expect(secretsOf({ url })).toContain(password);
      }),
    );
  });

  test.each<[string, string]>([
    ['reds://a:1', '"reds://a:1"; did you mean redis://?'],
    ['redis+tls://a', '"redis+tls://a"; did you mean rediss://?'],
    ['http://a:1', '"http://a:1", with the scheme "http"'],
    ['localhost:6379', '"localhost:6379"; did you mean redis://localhost:6379?'],
    ['localhost', '"localhost"; did you mean redis://localhost?'],
    ['redis:6379', '"redis:6379"; did you mean redis://redis:6379?'],
    ['redis:/host:1/2', '"redis:/host:1/2"; did you mean redis://host:1/2?'],
    ['rediss:host', '"rediss:***"; did you mean rediss://host?'],
    ['//host:1', '"//host:1"; did you mean redis://host:1?'],
    ['"redis://a"', '"\\"redis://a\\""; remove the quotes'],
    ['redis://', '"redis://", where the host is missing'],
    ['redis://:6379', '"redis://:6379", where the host or the port (1 to 65535) is none'],
    ['redis://a:', '"redis://a:", where the host or the port (1 to 65535) is none'],
    ['redis://a:0', '"redis://a:0", where the host or the port (1 to 65535) is none'],
    ['redis://a:65536', '"redis://a:65536", where the host or the port (1 to 65535) is none'],
    ['redis://a:1,b:2', '"redis://a:***"; several hosts belong in REDIS_SENTINELS or REDIS_CLUSTER_NODES'],
    ['redis://a:1/x', '"redis://a:1/x", where "x" is no database number'],
    ['redis://a:1/-1', '"redis://a:1/-1", where "-1" is no database number'],
    ['redis://a:1/0/1', '"redis://a:1/0/1", where "0/1" is no database number'],
    ['redis://a:1/0?db=2', '"redis://a:1/0?***", where nothing may follow the database number'],
    ['redis://a:1#0', '"redis://a:1#***", where nothing may follow the database number'],
    ['redis://a:1 ', '"redis://a:1 ", with a space or a line break in it'],
    [' redis://a:1', '" redis://a:1", with a space or a line break in it'],
    ['redis://a:1\r\n', '"redis://a:1\\r\\n", with a space or a line break in it'],
    ['redis://a b:1', '"redis://a b:1", with a space or a line break in it'],
    ['unix://tmp/redis.sock', '"unix://tmp/redis.sock", where the path does not start at the root'],
    ['unix:///tmp/redis.sock?db=2', '"unix:///tmp/redis.sock?***", where nothing may follow the path'],
    ['', '""'],
  ])('%j is refused with what was expected, what came and the mend', (url, rest) => {
    expect(faultsOf({ url })).toEqual([{ path: 'url', reason: `${URL_FORMS} ${rest}` }]);
  });

  test.each([
    'redis://:hunter22@a:99999/0',
    'redis://ann:hunter22@',
    'reds://ann:hunter22@a',
    'http://ann:hunter22@a',
    'ann:hunter22@a:6379',
    'redis:/ann:hunter22@a',
    'redis://ann:hunter22',
    'redis://:hunter22/0',
    'ann:hunter22',
    'redis://:hun/ter22@a',
    'redis://:hun?ter22@a',
    'redis://:hun#ter22@a',
    'redis://ann:12#ter22@a',
    'redis://ann:12/ter22@a',
    'redis://ann:12?ter22@a',
    'redis://ann?ter22@a',
    'redis://:hun@ter22/0@a',
    'redis://:hun\nter22@a',
    'redis://:hun ter22@a',
    'redis://a:1/0?password=hunter22',
    'unix://ann:hunter22@/tmp/redis.sock',
    'unix:///tmp/redis.sock?password=hunter22',
  ])('%j is refused without a word of its password', (url) => {
    const error = refusal({ url });
    const all = `${error.message} ${JSON.stringify(error)} ${String(error.stack)} ${String(error.cause)}`;
    expect(all).not.toContain('ter22');
  });

  test('a password with signs that a URL must encode is explained', () => {
    expect(refusal({ url: 'redis://:pa/ss@a:6379' }).message).toBe(
      `redis options: url: ${URL_FORMS} "redis://***@a:6379", where / ? or # in the password must be percent-encoded, or the password set as REDIS_PASSWORD`,
    );
  });

  test('whatever comes is read or refused, and never shows what stands before an @', () => {
    const near = fc.stringMatching(/^(redis|rediss|unix|reds)?:?\/{0,3}[a:/?#@[\]%0-9 .]{0,12}$/);
    fc.assert(
      fc.property(fc.oneof(near, fc.string()), near, (left, right) => {
        expect(told(`${left}hunter22@${right}`)).toMatch(/^(?!.*hunter22)(OPTIONS_INVALID |rediss?:|$)/s);
      }),
      { numRuns: 5_000 },
    );
  });
});

describe('Sentinels and Clusters', () => {
  test('are lists of host:port with the usual ports', () => {
    expect(parseAddress({ sentinels: ['a', 'b:2', '[::1]:3'], masterName: 'm' })).toMatchObject({
      endpoint: {
        topology: 'sentinel',
        masterName: 'm',
        sentinels: [
          { host: 'a', port: 26_379 },
          { host: 'b', port: 2 },
          { host: '::1', port: 3 },
        ],
      },
      label: 'redis+sentinel://a:26379,b:2,[::1]:3/m',
    });
    expect(parseAddress({ cluster: ['a', 'b:2'], tls: true })).toMatchObject({
      endpoint: {
        topology: 'cluster',
        nodes: [
          { host: 'a', port: 6_379 },
          { host: 'b', port: 2 },
        ],
      },
      label: 'rediss+cluster://a:6379,b:2',
      tls: {},
    });
  });

  test('every bad address of a list is told, without passwords', () => {
    expect(faultsOf({ sentinels: ['a:x', 'b', 'redis://:hunter22@c:1', ''] })).toEqual([
      { path: 'sentinels', reason: 'expected host:port, got "a:x"' },
      { path: 'sentinels', reason: 'expected host:port, got "redis://***@c:1"' },
      { path: 'sentinels', reason: 'expected host:port, got ""' },
      {
        path: 'masterName',
        reason: 'expected the name under which the Sentinels watch the master, such as mymaster, got none',
      },
    ]);
    expect(faultsOf({ cluster: [] })).toEqual([{ path: 'cluster', reason: 'expected at least 1 item, got an array' }]);
  });

  test.each<[string, string, number, string | undefined]>([
    ['a', '', 1, 'a:1'],
    ['a:2', '', 1, 'a:2'],
    [' a:2 ', 'spaces around', 1, 'a:2'],
    ['[fe80::1]:2', '', 1, '[fe80::1]:2'],
    ['[::1]', '', 7, '[::1]:7'],
    ['a:0', 'port 0', 1, undefined],
    ['a:65536', 'no port', 1, undefined],
    ['a:', 'no port', 1, undefined],
    [':1', 'no host', 1, undefined],
    ['::1', 'no brackets', 1, undefined],
    ['a/b', 'a path', 1, undefined],
    ['', 'nothing', 1, undefined],
  ])('%j %s is host:port or not (default port %d): %s', (text, _note, port, expected) => {
    const parsed = parseHostPort(text, port);
    expect(parsed && formatHostPort(parsed)).toBe(expected);
  });
});

describe('options together', () => {
  test.each<[string, RedisOptions]>([
    ['none', {}],
    ['url and cluster', { url: 'redis://a', cluster: ['a'] }],
    ['url and sentinels and cluster', { url: 'redis://a', sentinels: ['a'], cluster: ['a'] }],
  ])('exactly one way to say where Redis is: %s is refused', (came, options) => {
    const expected = `redis options: expected exactly one of url, sentinels or cluster, got ${came}`;
    expect(refusal(options).message).toBe(expected);
  });

  test.each<[string, RedisOptions, Fault]>([
    [
      'a database of a Cluster',
      { cluster: ['a'], database: 2 },
      { path: 'database', reason: 'a Cluster has only database 0, got 2' },
    ],
    [
      "a master's name without Sentinels",
      { url: 'redis://a', masterName: 'm' },
      { path: 'masterName', reason: 'expected Sentinels as the address, got another kind' },
    ],
    [
      'a password of Sentinels without Sentinels',
      { cluster: ['a'], sentinelPassword: 'hunter22' },
      { path: 'sentinelPassword', reason: 'expected Sentinels as the address, got another kind' },
    ],
    [
      'a URL with TLS and TLS switched off',
      { url: 'rediss://a', tls: false },
      { path: 'tls', reason: 'expected TLS, as the URL says rediss://, got false; redis:// is without' },
    ],
    [
      'a certificate without its key',
      { url: 'redis://a', tls: { cert: 'c' } },
      { path: 'tls.cert', reason: 'expected a certificate and its key, got one of them' },
    ],
    [
      'a deadline of nothing',
      { url: 'redis://a', commandTimeout: 0 },
      { path: 'commandTimeout', reason: 'expected more than 0, got 0' },
    ],
    [
      'a deadline that no timer can keep',
      { url: 'redis://a', connectTimeout: '30d' },
      { path: 'connectTimeout', reason: 'expected at most 2147483647, got 2592000000' },
    ],
    [
      'a name that CLIENT SETNAME refuses',
      { url: 'redis://a', name: 'my app' },
      { path: 'name', reason: 'expected letters, digits and . : - _ only, as CLIENT SETNAME asks, got "my app"' },
    ],
  ])('%s is refused', (_what, options, fault) => {
    expect(faultsOf(options)).toEqual([fault]);
  });

  test('all faults are told at once, and an unknown one names its neighbour', () => {
    expect(faultsOf({ url: 'reds://a', masterName: 'm' }).map(({ path }) => path)).toEqual(['url', 'masterName']);
    expect(refusal({ urll: 'redis://a', tls: { servernam: 'a' } }).message).toBe(
      'redis options: unknown option tls.servernam, did you mean servername?; unknown option urll, did you mean url?',
    );
  });

  test.each<[string, object]>([
    ['url: expected string, got an array', { url: ['redis://:hunter22@a'] }],
    ['password: expected string, got a number', { url: 'redis://a', password: 12_345 }],
    ['sentinels: expected array, got a string', { sentinels: 'redis://:hunter22@a' }],
    ['tls.key: expected string, got an object', { url: 'redis://a', tls: { key: Buffer.from('hunter22') } }],
  ])('a value of the wrong type is refused by its type, because it may be a password: %s', (fault, options) => {
    expect(refusal(options).message).toBe(`redis options: ${fault}`);
  });

  test('options win over what the URL says', () => {
    const address = parseAddress({
      url: 'redis://ann:one@a/1',
      username: 'bob',
      password: 'two',
      database: 2,
      tls: true,
    });
    expect(address).toMatchObject({
      username: 'bob',
      password: 'two',
      database: 2,
      tls: {},
      label: 'rediss://a:6379/2',
    });
  });

  test('what is not said has its default', () => {
    expect(parseAddress({ url: 'redis://a' })).toMatchObject({
      name: 'millrace',
      connectTimeoutMs: 5_000,
      commandTimeoutMs: 5_000,
    });
    expect(parseAddress({ url: 'redis://a', connectTimeout: '2s', commandTimeout: 300 })).toMatchObject({
      connectTimeoutMs: 2_000,
      commandTimeoutMs: 300,
    });
  });
});

describe('the label', () => {
  test.each<[string, RedisOptions]>([
    ['redis://a:1/2', { url: 'redis://ann:hunter22@a:1/2' }],
    ['rediss://[::1]:6379/0', { url: 'rediss://:hunter22@[::1]' }],
    ['unix:///tmp/redis.sock', { url: 'unix:///tmp/redis.sock', password: 'hunter22' }],
    [
      'redis+sentinel://a:26379/m',
      { sentinels: ['a'], masterName: 'm', password: 'hunter22', sentinelPassword: 'hunter22' },
    ],
  ])('is %s, without a secret', (label, options) => {
    expect(parseAddress(options).label).toBe(label);
  });
});

describe('the secrets', () => {
  test('are the passwords and the private key, as they are written and as they are meant', () => {
    const tls = { cert: 'public', key: 'private' };
    expect(secretsOf({ url: 'redis://ann:p%40ss@a', password: 'one', sentinelPassword: 'two', tls })).toEqual([
      'one',
      'two',
      'private',
      'p%40ss',
      'p@ss',
    ]);
  });

  test('are not the user, the host or the database', () => {
    for (const url of ['redis://default@a:1/2', 'redis://a:1', 'redis://default:@a', 'unix:///tmp/a', 'nonsense'])
      expect(secretsOf({ url })).toEqual([]);
    expect(secretsOf({ cluster: ['a:1'], username: 'ann' })).toEqual([]);
  });
});
