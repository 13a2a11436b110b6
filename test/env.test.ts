import { readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test, vi } from 'vitest';
import { ENV_SCHEMA, readEnv } from '../src/env.ts';
import type { MillraceError } from '../src/errors.ts';
import { parseAddress } from '../src/redis/address.ts';
import type { Fault } from '../src/schema.ts';
import { temporaryFolder } from './support/folders.ts';

type Env = Record<string, string | undefined>;

function refusal(env: Env): MillraceError {
  try {
    readEnv(env);
  } catch (error) {
    return error as MillraceError;
  }
  throw new Error(`it was not refused: ${JSON.stringify(env)}`);
}

const faultsOf = (env: Env): Fault[] => refusal(env).facts['faults'] as Fault[];

describe('docs/configuration.md', () => {
  const text = readFileSync(fileURLToPath(new URL('../docs/configuration.md', import.meta.url)), 'utf8');
  const rows = [...text.matchAll(/^\| `([A-Z_]+)` \|(.+)\|$/gm)].map(([, name = '', rest = '']) => {
    const [meaning = '', type = '', byDefault = '', example = ''] = rest.split(' | ').map((cell) => cell.trim());
    return { name, meaning, type, byDefault, example };
  });
  const known = ENV_SCHEMA.parse({}) as Record<string, unknown>;

  test('has a row for every variable, and for no other', () => {
    expect(rows.map(({ name }) => name).toSorted()).toEqual(Object.keys(ENV_SCHEMA.shape).toSorted());
  });

  test.each(rows)('says of $name what it means, its type, its default and an example', (row) => {
    for (const cell of [row.meaning, row.type, row.byDefault, row.example]) expect(cell).not.toBe('');
    expect(row.example).toMatch(/^`[^`]+`$/);
  });

  test.each(rows.filter(({ name }) => known[name] !== undefined))('has the default of $name', ({ name, byDefault }) => {
    expect(byDefault).toBe(`\`${String(known[name])}\``);
  });

  test('has the defaults that the connections have', () => {
    const { connectTimeoutMs, commandTimeoutMs } = parseAddress({ url: 'redis://a' });
    const documented = rows.filter(({ name }) => name.endsWith('_TIMEOUT')).map(({ byDefault }) => byDefault);
    expect(documented).toEqual([`\`${connectTimeoutMs / 1_000}s\``, `\`${commandTimeoutMs / 1_000}s\``]);
  });

  test.each(rows.filter(({ type }) => !type.includes('PEM')))(
    'has an example of $name that is good',
    ({ name, example }) => {
      expect(ENV_SCHEMA.safeParse({ [name]: example.slice(1, -1) }).error?.issues).toBeUndefined();
    },
  );
});

describe('an environment without faults', () => {
  test('that is empty means an embedded Redis in this folder', () => {
    expect(readEnv({})).toEqual({
      platform: {
        prefix: 'millrace',
        redis: undefined,
        embedded: {
          folder: resolve('.millrace'),
          cacheFolder: join(homedir(), '.cache', 'millrace'),
          server: undefined,
          mayDownload: true,
        },
        log: { level: 'info', format: undefined, secrets: [] },
      },
      http: { host: '127.0.0.1', port: 3000 },
      dashboard: { alerts: {} },
    });
  });

  test('names users whose hashes have commas, however they are set apart', () => {
    const [ada, bob] = [
      'ada:admin:$scrypt$ln=15,r=8,p=3$c2FsdA$aGFzaA',
      'bob:viewer:$scrypt$ln=15,r=8,p=3$c2FsdA$aGFzaA',
    ];
    for (const between of [' ', '\n', ';', ',', ', ', ' ;\n'])
      expect(readEnv({ MILLRACE_DASHBOARD_USERS: `${ada}${between}${bob}` }).dashboard.users).toEqual([ada, bob]);
  });

  test('says which proxies the dashboard believes', () => {
    const texts = ['1', 'true', 'false', 'loopback, 10.0.0.0/8'];
    const read = texts.map((text) => readEnv({ MILLRACE_DASHBOARD_TRUST_PROXY: text }).dashboard.trustProxy);
    expect(read).toEqual([1, true, false, 'loopback, 10.0.0.0/8']);
  });

  test('hands what the dashboard keeps secret to the log, which hides it', () => {
    const secrets = {
      MILLRACE_DASHBOARD_SECRET: 's'.repeat(32),
      METRICS_TOKEN: 't'.repeat(16),
      MILLRACE_ALERT_WEBHOOK_URL: 'https://hooks.example.com/T0/B1',
      MILLRACE_ALERT_WEBHOOK_SECRET: 'w'.repeat(16),
    };
    const { platform, dashboard } = readEnv(secrets);
    expect(platform.log).toMatchObject({ secrets: Object.values(secrets) });
    expect(dashboard.alerts).toEqual({ webhook: { url: secrets.MILLRACE_ALERT_WEBHOOK_URL, secret: 'w'.repeat(16) } });
    expect(readEnv({ MILLRACE_DASHBOARD_ALERTS: 'false' }).dashboard.alerts).toBe(false);
  });

  test('is read from the process when none is given', () => {
    vi.stubEnv('PORT', '4711');
    expect(readEnv().http.port).toBe(4711);
    vi.unstubAllEnvs();
  });

  test('has empty variables, which count as not set', () => {
    const empty = Object.fromEntries(Object.keys(ENV_SCHEMA.shape).map((name) => [name, '']));
    expect(readEnv({ ...empty, MILLRACE_PREFX: '', REDIS_UR: '' })).toEqual(readEnv({}));
  });

  test('has variables of others, which are left alone', () => {
    const others = { PATH: '/bin', REDIS_PORT: 'tcp://10.0.0.1:6379', REDIS_SERVICE_HOST: '10.0.0.1', REDIS_TTL: '5' };
    expect(readEnv(others)).toEqual(readEnv({}));
    expect(readEnv({ REDIS_URL: 'redis://a', REDIS_URI: 'redis://b' }).platform.redis?.url).toBe('redis://a');
  });

  test('says everything about one server', () => {
    const { platform, http } = readEnv({
      REDIS_URL: 'redis://ann:one@a:7000/1',
      REDIS_USERNAME: 'bob',
      REDIS_PASSWORD: 'two2',
      REDIS_DATABASE: '2',
      REDIS_TLS: '1',
      REDIS_CONNECT_TIMEOUT: '2s',
      REDIS_COMMAND_TIMEOUT: '300',
      MILLRACE_PREFIX: 'shop:eu',
      MILLRACE_DATA: '/data',
      MILLRACE_CACHE: '/cache',
      MILLRACE_REDIS_SERVER: '/bin/redis-server',
      MILLRACE_DOWNLOAD: '0',
      HOST: '0.0.0.0',
      PORT: '0',
      LOG_LEVEL: 'debug',
      LOG_FORMAT: 'pretty',
      NODE_ENV: 'production',
    });
    expect(parseAddress(platform.redis ?? {})).toMatchObject({
      label: 'rediss://a:7000/2',
      username: 'bob',
      password: 'two2',
      connectTimeoutMs: 2_000,
      commandTimeoutMs: 300,
    });
    expect(platform).toMatchObject({
      prefix: 'shop:eu',
      embedded: { folder: '/data', cacheFolder: '/cache', server: '/bin/redis-server', mayDownload: false },
      log: { level: 'debug', format: 'pretty', secrets: ['two2', 'one', 'one'] },
    });
    expect(http).toEqual({ host: '0.0.0.0', port: 0 });
  });

  test('says everything about Sentinels, with spaces around commas', () => {
    const { redis } = readEnv({
      REDIS_SENTINELS: ' a:1 , b,,',
      REDIS_MASTER_NAME: 'm',
      REDIS_SENTINEL_USERNAME: 'sue',
      REDIS_SENTINEL_PASSWORD: 'three',
    }).platform;
    expect(parseAddress(redis ?? {})).toMatchObject({
      label: 'redis+sentinel://a:1,b:26379/m',
      sentinelUsername: 'sue',
      sentinelPassword: 'three',
    });
  });

  test('says everything about a Cluster', () => {
    const { redis } = readEnv({ REDIS_CLUSTER_NODES: 'a:1,b', REDIS_TLS: 'true' }).platform;
    expect(parseAddress(redis ?? {}).label).toBe('rediss+cluster://a:1,b:6379');
  });

  test('has lines of JSON in production, and fetched servers in the folder for caches', () => {
    const { log, embedded } = readEnv({ NODE_ENV: 'production', XDG_CACHE_HOME: '/caches' }).platform;
    expect(log).toMatchObject({ format: 'json' });
    expect(embedded?.cacheFolder).toBe('/caches/millrace');
  });
});

const pem = (what: string): string => `-----BEGIN ${what}-----\nMIIhunter22\n-----END ${what}-----\n`;

describe('TLS files', () => {
  const folder = temporaryFolder();
  const file = (name: string, content: string): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const url = { REDIS_URL: 'redis://a' };

  test('are read, and switch TLS on', () => {
    const { redis } = readEnv({
      ...url,
      REDIS_TLS_CA: file('ca.pem', pem('CERTIFICATE')),
      REDIS_TLS_CERT: file('cert.pem', pem('CERTIFICATE')),
      REDIS_TLS_KEY: file('key.pem', pem('PRIVATE KEY')),
      REDIS_TLS_SERVERNAME: 'redis.internal',
      REDIS_TLS_REJECT_UNAUTHORIZED: 'true',
    }).platform;
    expect(parseAddress(redis ?? {}).tls).toEqual({
      ca: pem('CERTIFICATE'),
      cert: pem('CERTIFICATE'),
      key: pem('PRIVATE KEY'),
      servername: 'redis.internal',
      rejectUnauthorized: true,
    });
  });

  test('are not used when TLS is switched off', () => {
    const { redis } = readEnv({ ...url, REDIS_TLS: 'false', REDIS_TLS_SERVERNAME: 'a' }).platform;
    expect(parseAddress(redis ?? {}).tls).toBeUndefined();
  });

  test('that are missing, no files, or without a certificate in them are refused', () => {
    expect(
      faultsOf({
        ...url,
        REDIS_TLS_CA: '/no/such/ca.pem',
        REDIS_TLS_CERT: folder,
        REDIS_TLS_KEY: file('empty.pem', 'MIIhunter22'),
      }),
    ).toEqual([
      {
        path: 'REDIS_TLS_CA',
        reason: 'expected the name of a PEM file that can be read (ENOENT), got "/no/such/ca.pem"',
      },
      {
        path: 'REDIS_TLS_CERT',
        reason: `expected the name of a PEM file that can be read (EISDIR), got ${JSON.stringify(folder)}`,
      },
      {
        path: 'REDIS_TLS_KEY',
        reason: 'expected the name of a PEM file, which has -----BEGIN in it, got something else',
      },
    ]);
  });

  test.each([pem('PRIVATE KEY'), 'MIIhunter22', `MIIhunter22${'x'.repeat(5_000)}`])(
    'a key that is given itself in place of its file is not shown',
    (key) => {
      const error = refusal({ ...url, REDIS_TLS_KEY: key });
      expect(error.message).toContain('REDIS_TLS_KEY: expected the name of a PEM file');
      expect(`${error.message} ${JSON.stringify(error)}`).not.toContain('hunter22');
    },
  );

  test('a certificate goes with its key', () => {
    expect(faultsOf({ ...url, REDIS_TLS_CERT: file('cert.pem', pem('CERTIFICATE')) })).toEqual([
      { path: 'REDIS_TLS_CERT', reason: 'expected a certificate and its key, got one of them' },
    ]);
  });
});

describe('a faulty environment', () => {
  const ADDRESS_FORMS = 'expected redis://host:port, rediss://host:port or unix:///path/redis.sock, got';
  const NO_ADDRESS = 'expected an address beside it (REDIS_URL, REDIS_SENTINELS, REDIS_CLUSTER_NODES), got none';

  test.each<[Env, string, string]>([
    [{ REDIS_URL: 'reds://a' }, 'REDIS_URL', `${ADDRESS_FORMS} "reds://a"; did you mean redis://?`],
    [
      { REDIS_URL: 'localhost:6379' },
      'REDIS_URL',
      `${ADDRESS_FORMS} "localhost:6379"; did you mean redis://localhost:6379?`,
    ],
    [{ REDIS_URL: 'http://a' }, 'REDIS_URL', `${ADDRESS_FORMS} "http://a", with the scheme "http"`],
    [{ REDIS_URL: 'redis:/host' }, 'REDIS_URL', `${ADDRESS_FORMS} "redis:/host"; did you mean redis://host?`],
    [
      { REDIS_URL: 'redis://a:99999' },
      'REDIS_URL',
      `${ADDRESS_FORMS} "redis://a:99999", where the host or the port (1 to 65535) is none`,
    ],
    [
      { REDIS_URL: 'redis://a:1/0x' },
      'REDIS_URL',
      `${ADDRESS_FORMS} "redis://a:1/0x", where "0x" is no database number`,
    ],
    [{ REDIS_URL: ' redis://a' }, 'REDIS_URL', `${ADDRESS_FORMS} " redis://a", with a space or a line break in it`],
    [{ REDIS_URL: 'cluster:x' }, 'REDIS_URL', `${ADDRESS_FORMS} "cluster:***"`],
    [
      { REDIS_SENTINELS: ',', REDIS_MASTER_NAME: 'm' },
      'REDIS_SENTINELS',
      'expected host:port, or several of them with commas between, got ","',
    ],
    [{ REDIS_SENTINELS: 'a:x', REDIS_MASTER_NAME: 'm' }, 'REDIS_SENTINELS', 'expected host:port, got "a:x"'],
    [
      { REDIS_SENTINELS: 'a' },
      'REDIS_MASTER_NAME',
      'expected the name under which the Sentinels watch the master, such as mymaster, got none',
    ],
    [{ REDIS_CLUSTER_NODES: 'redis://a:1' }, 'REDIS_CLUSTER_NODES', 'expected host:port, got "redis://a:1"'],
    [{ REDIS_CLUSTER_NODES: 'a', REDIS_DATABASE: '1' }, 'REDIS_DATABASE', 'a Cluster has only database 0, got 1'],
    [
      { REDIS_URL: 'redis://a', REDIS_CLUSTER_NODES: 'a' },
      '',
      'expected exactly one of REDIS_URL, REDIS_SENTINELS or REDIS_CLUSTER_NODES, got REDIS_URL and REDIS_CLUSTER_NODES',
    ],
    [
      { REDIS_URL: 'redis://a', REDIS_MASTER_NAME: 'm' },
      'REDIS_MASTER_NAME',
      'expected Sentinels as the address, got another kind',
    ],
    [
      { REDIS_URL: 'redis://a', REDIS_SENTINEL_PASSWORD: 'hunter22' },
      'REDIS_SENTINEL_PASSWORD',
      'expected Sentinels as the address, got another kind',
    ],
    [
      { REDIS_URL: 'rediss://a', REDIS_TLS: 'false' },
      'REDIS_TLS',
      'expected TLS, as the URL says rediss://, got false; redis:// is without',
    ],
    [{ REDIS_PASSWORD: 'hunter22' }, 'REDIS_PASSWORD', NO_ADDRESS],
    [{ REDIS_DATABASE: '1' }, 'REDIS_DATABASE', NO_ADDRESS],
    [{ REDIS_URL: '', REDIS_TLS: 'true' }, 'REDIS_TLS', NO_ADDRESS],
    [
      { REDIS_URL: 'redis://a', REDIS_DATABASE: '1.5' },
      'REDIS_DATABASE',
      'expected a whole number from 0 to 1000000, got "1.5"',
    ],
    [{ REDIS_URL: 'redis://a', REDIS_TLS: 'yes' }, 'REDIS_TLS', 'expected true or false, got "yes"'],
    [
      { REDIS_URL: 'redis://a', REDIS_COMMAND_TIMEOUT: '5 s' },
      'REDIS_COMMAND_TIMEOUT',
      "expected a number of milliseconds or a string such as '500ms', '30s', '5m', '1h', '1d', got \"5 s\"",
    ],
    [{ REDIS_URL: 'redis://a', REDIS_COMMAND_TIMEOUT: '0' }, 'REDIS_COMMAND_TIMEOUT', 'expected more than 0, got 0'],
    [
      { REDIS_URL: 'redis://a', REDIS_CONNECT_TIMEOUT: '30d' },
      'REDIS_CONNECT_TIMEOUT',
      'expected at most 2147483647, got 2592000000',
    ],
    [
      { MILLRACE_PREFIX: 'my shop' },
      'MILLRACE_PREFIX',
      'expected letters, digits and _ . - only, in parts joined by a colon, got "my shop"',
    ],
    [{ MILLRACE_DOWNLOAD: 'no' }, 'MILLRACE_DOWNLOAD', 'expected true or false, got "no"'],
    [{ PORT: '65536' }, 'PORT', 'expected a whole number from 0 to 65535, got "65536"'],
    [{ PORT: '-1' }, 'PORT', 'expected a whole number from 0 to 65535, got "-1"'],
    [{ PORT: '3000 ' }, 'PORT', 'expected a whole number from 0 to 65535, got "3000 "'],
    [{ LOG_LEVEL: 'loud' }, 'LOG_LEVEL', 'expected trace, debug, info, warn, error, fatal, silent, got "loud"'],
    [{ LOG_FORMAT: 'text\r' }, 'LOG_FORMAT', 'expected json or pretty, got "text\\r"'],
    [{ MILLRACE_PREFX: 'a' }, 'MILLRACE_PREFX', 'there is no such variable, did you mean MILLRACE_PREFIX?'],
    [{ MILLRACE_REDIS_URL: 'a' }, 'MILLRACE_REDIS_URL', 'there is no such variable, did you mean REDIS_URL?'],
    [{ MILLRACE_COLOUR: 'a' }, 'MILLRACE_COLOUR', 'there is no such variable'],
    [{ REDIS_UR: 'redis://a' }, 'REDIS_UR', 'there is no such variable, did you mean REDIS_URL?'],
    [{ REDIS_CLUSTER_NODE: 'a' }, 'REDIS_CLUSTER_NODE', 'there is no such variable, did you mean REDIS_CLUSTER_NODES?'],
  ])('%j names the variable, what was expected and what came', (env, path, reason) => {
    expect(faultsOf(env)).toEqual([{ path, reason }]);
  });

  test('has all its faults told at once, also those that only an address shows', () => {
    const error = refusal({
      REDIS_URL: 'reds://a',
      REDIS_DATABASE: 'x',
      REDIS_MASTER_NAME: 'm',
      MILLRACE_PREFX: 'a',
      PORT: '70000',
    });
    expect(error.code).toBe('ENV_INVALID');
    expect(error.message).toBe(
      [
        'the environment has faults: REDIS_DATABASE: expected a whole number from 0 to 1000000, got "x"',
        'PORT: expected a whole number from 0 to 65535, got "70000"',
        'MILLRACE_PREFX: there is no such variable, did you mean MILLRACE_PREFIX?',
        `REDIS_URL: ${ADDRESS_FORMS} "reds://a"; did you mean redis://?`,
        'REDIS_MASTER_NAME: expected Sentinels as the address, got another kind',
      ].join('; '),
    );
  });

  test.each<Env>([
    { REDIS_URL: 'reds://ann:hunter22@a' },
    { REDIS_URL: 'redis://ann:hunter22@a:99999' },
    { REDIS_URL: 'redis://ann:hun/ter22@a' },
    { REDIS_URL: 'redis://ann:hunter22' },
    { REDIS_CLUSTER_NODES: 'redis://:hunter22@a:1' },
    { REDIS_SENTINELS: 'a', REDIS_SENTINEL_PASSWORD: 'hunter22' },
    { REDIS_PASSWORD: 'hunter22' },
    { REDIS_DATABASE: 'redis://:hunter22@a' },
    { REDIS_URL: 'redis://a:x', REDIS_PASSWORD: 'hunter22', REDIS_TLS_KEY: 'hunter22' },
  ])('%j is refused without a word of a password', (env) => {
    const error = refusal(env);
    expect(`${error.message} ${JSON.stringify(error)} ${String(error.stack)} ${String(error.cause)}`).not.toContain(
      'ter22',
    );
  });
});
