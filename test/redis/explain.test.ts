import type { Redis } from 'ioredis';
import { ErrorReply, SimpleError } from 'redis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MillraceError, type ErrorCode } from '../../src/errors.ts';
import { explainRedisError } from '../../src/redis/explain.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const LABEL = 'redis://a:6379/0';

/** What ioredis throws for an answer of the server. */
class ReplyError extends Error {
  override readonly name = 'ReplyError';
}

/** What Node throws for a failed system call. */
const systemError = (code: string, message = `connect ${code} 10.0.0.1:6379`): Error =>
  Object.assign(new Error(message), { code });

const wrongPassword = (): Error => new ReplyError('WRONGPASS invalid username-password pair');

describe('an answer of the server', () => {
  const answers: Array<[ErrorCode, string, string]> = [
    ['REDIS_AUTH_FAILED', 'WRONGPASS invalid username-password pair or user is disabled.', 'REDIS_PASSWORD'],
    ['REDIS_AUTH_FAILED', 'NOAUTH Authentication required.', 'REDIS_PASSWORD'],
    ['REDIS_AUTH_FAILED', 'NOAUTH HELLO must be called with the client already authenticated', 'REDIS_PASSWORD'],
    ['REDIS_AUTH_FAILED', 'ERR invalid password', 'REDIS_PASSWORD'],
    ['REDIS_AUTH_FAILED', 'ERR Client sent AUTH, but no password is set', 'REDIS_PASSWORD'],
    [
      'REDIS_AUTH_FAILED',
      'ERR AUTH <password> called without any password configured for the default user.',
      'REDIS_PASSWORD',
    ],
    ['REDIS_AUTH_FAILED', 'DENIED Redis is running in protected mode because ...', 'protected mode'],
    ['REDIS_FORBIDDEN', "NOPERM User ann has no permissions to run the 'eval' command", 'ACL SETUSER'],
    ['REDIS_CLUSTER_DOWN', 'CLUSTERDOWN Hash slot not served', 'CLUSTER NODES'],
    ['REDIS_WRONG_TOPOLOGY', 'MOVED 3999 127.0.0.1:6381', 'REDIS_CLUSTER_NODES'],
    ['REDIS_WRONG_TOPOLOGY', "CROSSSLOT Keys in request don't hash to the same slot", 'REDIS_CLUSTER_NODES'],
    ['REDIS_WRONG_TOPOLOGY', 'ERR This instance has cluster support disabled', 'REDIS_URL'],
    ['REDIS_NOT_READY', 'LOADING Redis is loading the dataset in memory', 'loads its data'],
    [
      'REDIS_NOT_READY',
      "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
      'not ready',
    ],
    ['REDIS_NOT_READY', 'BUSY Redis is busy running a script. You can only call SCRIPT KILL', 'busy with a script'],
    ['REDIS_NOT_READY', 'ERR max number of clients reached', 'maxclients'],
    ['REDIS_WRITES_REFUSED', 'MISCONF Errors writing to the AOF file: No space left on device', 'disk'],
    ['REDIS_WRITES_REFUSED', "READONLY You can't write against a read only replica.", 'replica'],
    ['REDIS_WRITES_REFUSED', 'NOREPLICAS Not enough good replicas to write.', 'min-replicas-to-write'],
    ['REDIS_WRITES_REFUSED', "OOM command not allowed when used memory > 'maxmemory'.", 'maxmemory'],
    ['REDIS_NOT_REDIS', 'ERR Protocol error: invalid multibulk length', 'proxy'],
    ['REDIS_FAILED', 'WRONGTYPE Operation against a key holding the wrong kind of value', 'WRONGTYPE'],
    ['REDIS_FAILED', 'BUSYGROUP Consumer Group name already exists', 'BUSYGROUP'],
    ['REDIS_FAILED', 'ERR DB index is out of range', 'out of range'],
  ];

  test.each(answers)('%s: %s', (code, reply, mend) => {
    for (const error of [new ReplyError(reply), new SimpleError(reply), new Error(reply)]) {
      const explained = explainRedisError(error, LABEL);
      expect(explained.code).toBe(code);
      expect(explained.message).toContain(mend);
      expect(explained.message).toContain(reply);
      expect(explained.message.startsWith(`Redis at ${LABEL}: `)).toBe(true);
      expect(explained.facts).toEqual({ address: LABEL });
      expect(explained.cause).toBe(error);
    }
  });

  test.each([
    'ERR user_script:3: READONLY mode is on',
    'ERR ECONNREFUSED by the bank',
    'ERR certificate of the user has expired',
    'ERR timeout of 5 s: Command timed out',
    'ORDER OOM is no code here',
    'LOADINGDOCK is closed',
  ])('of a script is not mistaken for one of the server, or for a failure of the connection: %s', (reply) => {
    for (const error of [new ReplyError(reply), new SimpleError(reply)])
      expect(explainRedisError(error, LABEL).code).toBe('REDIS_FAILED');
  });
});

describe('a failure without an answer', () => {
  test.each<[ErrorCode, Error, string]>([
    ['REDIS_TLS_FAILED', systemError('DEPTH_ZERO_SELF_SIGNED_CERT', 'self-signed certificate'), 'REDIS_TLS_CA'],
    [
      'REDIS_TLS_FAILED',
      systemError('ERR_SSL_WRONG_VERSION_NUMBER', 'write EPROTO: wrong version number'),
      'speaks TLS',
    ],
    ['REDIS_TLS_FAILED', systemError('ERR_TLS_CERT_ALTNAME_INVALID', 'Hostname/IP does not match'), 'TLS'],
    [
      'REDIS_TLS_FAILED',
      systemError('ECONNRESET', 'Client network socket disconnected before secure TLS connection was established'),
      'speaks TLS',
    ],
    ['REDIS_NOT_REDIS', new Error('Protocol error, got "H" as reply type byte'), 'host and port'],
    ['REDIS_UNREACHABLE', systemError('ENOTFOUND', 'getaddrinfo ENOTFOUND redsi'), 'typing error'],
    ['REDIS_UNREACHABLE', systemError('EAI_AGAIN', 'getaddrinfo EAI_AGAIN redis'), 'host name'],
    ['REDIS_UNREACHABLE', systemError('ECONNREFUSED'), 'nothing listens there'],
    ['REDIS_UNREACHABLE', systemError('ENOENT', 'connect ENOENT /tmp/redis.sock'), 'no such socket'],
    ['REDIS_UNREACHABLE', systemError('EACCES', 'connect EACCES /tmp/redis.sock'), 'permissions'],
    ['REDIS_UNREACHABLE', systemError('ETIMEDOUT', 'connect ETIMEDOUT'), 'firewall'],
    ['REDIS_UNREACHABLE', systemError('EHOSTUNREACH'), 'firewall'],
    ['REDIS_UNREACHABLE', new Error('Connection timeout'), 'firewall'],
    ['REDIS_UNREACHABLE', new Error('no answer to the handshake in 5 s'), 'frozen server'],
    ['REDIS_UNREACHABLE', systemError('ECONNRESET', 'read ECONNRESET'), 'connection is lost'],
    ['REDIS_UNREACHABLE', new Error('Connection is closed.'), 'connection is lost'],
    ['REDIS_UNREACHABLE', new Error('Reached the max retries per request limit (which is 3).'), 'connection is lost'],
    ['REDIS_UNREACHABLE', new Error('None of startup nodes is available'), 'connection is lost'],
    ['REDIS_UNREACHABLE', new Error('All the root nodes are unavailable'), 'connection is lost'],
    ['REDIS_UNREACHABLE', new Error('Socket closed unexpectedly'), 'connection is lost'],
    ['REDIS_UNREACHABLE', new Error('The client is closed'), 'connection is lost'],
    [
      'REDIS_UNREACHABLE',
      new Error('All sentinels are unreachable. Last error: connect ECONNREFUSED a'),
      'REDIS_SENTINELS',
    ],
    ['REDIS_TIMEOUT', new Error('Command timed out'), 'whether the command ran is not known'],
    ['REDIS_TIMEOUT', new Error('Socket timeout timeout. Expecting data'), 'whether the command ran'],
    ['REDIS_FAILED', new Error('something new'), 'something new'],
  ])('%s: %s', (code, error, mend) => {
    const explained = explainRedisError(error, LABEL);
    expect(explained.code).toBe(code);
    expect(explained.message).toContain(mend);
    expect(explained.cause).toBe(error);
  });

  test('is explained even if it is no error at all', () => {
    expect(explainRedisError('Connection is closed', LABEL)).toMatchObject({
      code: 'REDIS_UNREACHABLE',
      cause: 'Connection is closed',
    });
    expect(explainRedisError(undefined, LABEL)).toMatchObject({ code: 'REDIS_FAILED' });
  });
});

describe('the innermost error', () => {
  test("of a Cluster that lost all nodes is its last node's", () => {
    const error = Object.assign(new Error('Failed to refresh slots cache.'), { lastNodeError: wrongPassword() });
    expect(explainRedisError(error, LABEL)).toMatchObject({
      code: 'REDIS_AUTH_FAILED',
      cause: { message: 'WRONGPASS invalid username-password pair' },
    });
  });

  test('of several at once is the first', () => {
    const error = new AggregateError([systemError('ECONNREFUSED'), systemError('ENETUNREACH')], '');
    const explained = explainRedisError(error, LABEL);
    expect(explained.message).toContain('nothing listens there');
    expect(explained.message).toContain('ECONNREFUSED 10.0.0.1:6379');
  });

  test('of several in one another is found', () => {
    const error = Object.assign(new Error('outer'), { lastNodeError: new AggregateError([wrongPassword()]) });
    expect(explainRedisError(error, LABEL).code).toBe('REDIS_AUTH_FAILED');
  });

  test('of a Sentinel set that refuses all is what a Sentinel answered', () => {
    const error = new Error(
      'All sentinels are unreachable and retry is disabled. Last error: NOAUTH Authentication required.',
    );
    expect(explainRedisError(error, LABEL).code).toBe('REDIS_AUTH_FAILED');
  });

  test('of a Cluster that sends on and on tells a lost connection from slots that nobody serves', () => {
    const lastErrors = [
      'ReplyError: CLUSTERDOWN Hash slot not served',
      'ReplyError: MOVED 1 a:1',
      'Error: Connection is closed.',
    ];
    const explained = lastErrors.map((last) =>
      explainRedisError(new Error(`Too many Cluster redirections. Last error: ${last}`), LABEL),
    );
    expect(explained.map(({ code }) => code)).toEqual([
      'REDIS_CLUSTER_DOWN',
      'REDIS_CLUSTER_DOWN',
      'REDIS_UNREACHABLE',
    ]);
  });

  test('that is a MillraceError already is left as it is', () => {
    const error = new MillraceError('CLOSED', 'closed');
    expect(explainRedisError(error, LABEL)).toBe(error);
  });

  test('is told on one line of bearable length', () => {
    const explained = explainRedisError(new Error(`${'x'.repeat(1_000)}\nsecond line`), LABEL);
    expect(explained.message.length).toBeLessThan(250);
    expect(explained.message).not.toContain('\n');
  });
});

/** All that a log could show of it. */
function everythingOf(error: MillraceError): string {
  const cause = error.cause as Error;
  return [error.message, error.stack, JSON.stringify(error), cause.message, cause.stack, JSON.stringify(cause)].join();
}

describe('real answers', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  function say(words: string): Promise<unknown> {
    const [command = '', ...args] = words.split(' ');
    return server.ask((redis) => redis.call(command, ...args));
  }

  /** The error that the question ends with, explained. */
  async function explained(question: (redis: Redis) => Promise<unknown>): Promise<MillraceError> {
    const error = await server.ask(async (redis) => {
      try {
        await question(redis);
      } catch (refused) {
        return refused;
      }
      throw new Error('it was not refused');
    });
    return explainRedisError(error, LABEL);
  }

  test('to AUTH keep the password neither in the message nor in the cause', async () => {
    for (const args of [['hunter22'], ['ann', 'hunter22']] as const) {
      const error = await explained((redis) => redis.call('AUTH', ...args));
      expect(error.code).toBe('REDIS_AUTH_FAILED');
      expect(everythingOf(error)).not.toContain('hunter22');
      expect(error.cause).not.toHaveProperty('command');
    }
  });

  test('to a command that is not known do not repeat what was sent', async () => {
    const error = await explained((redis) => redis.call('AUTHENTICATE', 'ann', 'hunter22'));
    expect(error.code).toBe('REDIS_FAILED');
    expect(error.message).toBe(`Redis at ${LABEL}: ERR unknown command 'AUTHENTICATE'`);
    expect(everythingOf(error)).not.toContain('hunter22');
  });

  test.each([
    ['SET', 'mine:a', '1'],
    ['GET', 'theirs'],
    ['EVAL', "return redis.call('SET', 'mine:a', 1)", '0'],
  ])('to a user without rights are REDIS_FORBIDDEN, in a script too: %s', async (command, ...args) => {
    await server.ask((redis) => redis.call('ACL', 'SETUSER', 'bob', 'on', '>pw', '+eval', '+get', '~mine:*'));
    const error = await explained(async (redis) => {
      await redis.auth('bob', 'pw');
      await redis.call(command, ...args);
    });
    expect(error.code).toBe('REDIS_FORBIDDEN');
  });

  test.each([
    ['without memory', 'CONFIG SET maxmemory 1', 'CONFIG SET maxmemory 0'],
    ['without replicas', 'CONFIG SET min-replicas-to-write 3', 'CONFIG SET min-replicas-to-write 0'],
    ['that is a replica', 'REPLICAOF 127.0.0.1 1', 'REPLICAOF NO ONE'],
  ])('of a server %s are REDIS_WRITES_REFUSED, in a script and in a transaction too', async (_what, refuse, allow) => {
    await say(refuse);
    const plain = await explained((redis) => redis.set('a', '1'));
    const script = await explained((redis) => redis.eval("return redis.call('SET', 'a', 1)", 0));
    const transaction = await explained((redis) => redis.multi().set('a', '1').exec());
    await say(allow);
    expect([plain, script, transaction].map(({ code }) => code)).toEqual([
      'REDIS_WRITES_REFUSED',
      'REDIS_WRITES_REFUSED',
      'REDIS_WRITES_REFUSED',
    ]);
  });

  test('that node-redis gives have the classes that we tell them by', () => {
    expect(new SimpleError('ERR a')).toBeInstanceOf(ErrorReply);
    expect(new SimpleError('ERR a').constructor.name).toBe('SimpleError');
  });
});
