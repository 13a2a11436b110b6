/**
 * One clear MillraceError for whatever a Redis client throws: the cause first, then the mend.
 *
 * The clients report a refused password, a wrong port or a lost node in a dozen shapes (a closed connection, exhausted
 * retries, "all nodes failed"); callers and operators should meet one shape.
 */
import { MillraceError, type ErrorCode } from '../errors.ts';

interface Rule {
  matches: RegExp;
  code: ErrorCode;
  means: string;
}

/** What a server answers, told by its first words. The first match decides. */
const REPLIES: readonly Rule[] = [
  {
    matches: /^(?:WRONGPASS|NOAUTH|ERR invalid password|ERR AUTH .*without any password|ERR .*no password is set)/,
    code: 'REDIS_AUTH_FAILED',
    means:
      'the server refused the user or the password. Check REDIS_USERNAME and REDIS_PASSWORD, or the user and password in REDIS_URL',
  },
  {
    matches: /^DENIED/,
    code: 'REDIS_AUTH_FAILED',
    means:
      'the server is in protected mode and takes no connections from other machines. Set a password there and as REDIS_PASSWORD here',
  },
  {
    matches: /^NOPERM|^(?:ERR )?ACL failure in script/,
    code: 'REDIS_FORBIDDEN',
    means: 'the ACL user may not do what is needed. Grant it with ACL SETUSER',
  },
  {
    matches: /^CLUSTERDOWN|cluster_state:fail|^Too many Cluster redirections(?!.*(?:closed|ECONN|timed out))/,
    code: 'REDIS_CLUSTER_DOWN',
    means:
      'the Cluster does not serve all of its slots. A master is down and no replica has taken over; see CLUSTER NODES',
  },
  {
    matches: /^ERR .*cluster support disabled|^CROSSSLOT|^MOVED /,
    code: 'REDIS_WRONG_TOPOLOGY',
    means:
      'the server is of another kind than the options say. Use REDIS_CLUSTER_NODES for a Cluster and REDIS_URL for a single server',
  },
  {
    matches: /^(?:LOADING|MASTERDOWN|BUSY) /,
    code: 'REDIS_NOT_READY',
    means: 'the server is there but not ready: it loads its data, or is busy with a script',
  },
  {
    matches: /^ERR max number of clients/,
    code: 'REDIS_NOT_READY',
    means: 'the server takes no more connections. Raise its maxclients, or look in CLIENT LIST for who holds them',
  },
  {
    matches: /^MISCONF/,
    code: 'REDIS_WRITES_REFUSED',
    means: 'the server takes no writes because it could not write to its disk. Free space there, or mend its folder',
  },
  {
    matches: /^READONLY/,
    code: 'REDIS_WRITES_REFUSED',
    means: 'the server is a replica and takes no writes. Connect to the master, or through Sentinel',
  },
  {
    matches: /^NOREPLICAS/,
    code: 'REDIS_WRITES_REFUSED',
    means: 'the server takes no writes because too few replicas follow it (min-replicas-to-write). Start them again',
  },
  {
    matches: /^ERR Protocol error/,
    code: 'REDIS_NOT_REDIS',
    means: 'what was sent did not arrive as Redis commands. Check for a proxy in between, and TLS on both sides',
  },
  {
    matches: /^OOM /,
    code: 'REDIS_WRITES_REFUSED',
    means: 'the server takes no writes because it has reached maxmemory. Raise maxmemory, or remove data',
  },
];

/** What a client meets where no answer came, told by the error's code, name and message. The first match decides. */
const FAILURES: readonly Rule[] = [
  {
    matches:
      /ERR_TLS|ERR_SSL|CERT_|certificate|SSL routines|self.signed|wrong version number|EPROTO|secure TLS connection/i,
    code: 'REDIS_TLS_FAILED',
    means: 'the TLS handshake failed. Check that the server speaks TLS on this port, and REDIS_TLS_CA',
  },
  {
    matches: /All sentinels are unreachable/,
    code: 'REDIS_UNREACHABLE',
    means: 'no Sentinel answers. Check REDIS_SENTINELS',
  },
  {
    matches: /Protocol error|ParserError|Unknown RESP type/,
    code: 'REDIS_NOT_REDIS',
    means: 'something answers there, but it is not a Redis server (or it is one that speaks TLS). Check host and port',
  },
  {
    matches: /ENOTFOUND|EAI_AGAIN/,
    code: 'REDIS_UNREACHABLE',
    means: 'the host name is not known. Check it for a typing error',
  },
  {
    matches: /ECONNREFUSED/,
    code: 'REDIS_UNREACHABLE',
    means: 'nothing listens there. Start the server, or check host and port',
  },
  {
    matches: /ENOENT/,
    code: 'REDIS_UNREACHABLE',
    means: 'there is no such socket. Start the server, or check the path',
  },
  {
    matches: /EACCES/,
    code: 'REDIS_UNREACHABLE',
    means: 'the socket may not be used by this user. Check its permissions',
  },
  {
    matches: /Command timed out|Socket timeout|Command timeout/,
    code: 'REDIS_TIMEOUT',
    means: 'no answer within the deadline, so whether the command ran is not known',
  },
  {
    matches: /no answer to the handshake/,
    code: 'REDIS_UNREACHABLE',
    means:
      'something accepts connections but does not answer: a frozen server, or another program. Check host and port',
  },
  {
    matches: /ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|Connection timeout/,
    code: 'REDIS_UNREACHABLE',
    means: 'the host does not answer. Check the network, the firewall and the address',
  },
  {
    matches:
      /ECONNRESET|EPIPE|Connection is closed|max retries per request|aborted due to connection|ClusterAllFailedError|Failed to refresh slots|startup nodes|root nodes|Stream isn't writeable|Socket closed|The client is (?:closed|offline)|Disconnects client|Cluster is disconnect|Node is disconnected/i,
    code: 'REDIS_UNREACHABLE',
    means: 'the connection is lost',
  },
];

/**
 * The MillraceError that says what went wrong at the address.
 *
 * @example
 * client.on('error', (error) => log.warn(explainRedisError(error, address.label).message));
 */
export function explainRedisError(error: unknown, label: string): MillraceError {
  if (error instanceof MillraceError) return error;
  const origin = innermost(error);
  const cause = withoutArguments(origin);
  const said = firstLine(origin instanceof Error ? origin.message : String(origin));
  const rule = ruleFor(origin instanceof Error ? origin : new Error(said));
  if (!rule) return new MillraceError('REDIS_FAILED', `Redis at ${label}: ${said}`, { address: label, cause });
  return new MillraceError(rule.code, `Redis at ${label}: ${rule.means} (${said})`, { address: label, cause });
}

/** The error that says most: a Cluster's or Sentinel's last node error rather than its summary, what a transaction was refused for rather than that. */
function innermost(error: unknown): unknown {
  let current = error;
  for (let depth = 0; depth < 5; depth++) {
    if (!(current instanceof Error)) break;
    const { lastNodeError, previousErrors } = current as { lastNodeError?: unknown; previousErrors?: unknown[] };
    const { errors } = current instanceof AggregateError ? current : {};
    const inner: unknown = lastNodeError ?? previousErrors?.[0] ?? errors?.[0];
    if (!(inner instanceof Error)) break;
    current = inner;
  }
  return current;
}

/** The classes of ioredis and node-redis for what a server answered. */
const REPLY_CLASSES = ['ReplyError', 'SimpleError', 'BlobError'];

function ruleFor(error: Error & { code?: unknown }): Rule | undefined {
  const ofSentinel = /^All sentinels are unreachable.* Last error: (.*)$/s.exec(error.message)?.[1];
  const asReply = REPLIES.find(({ matches }) => matches.test(ofSentinel ?? error.message));
  // A script may answer anything; its words must not be taken for a failure of the connection.
  if (asReply || REPLY_CLASSES.includes(error.constructor.name)) return asReply;
  const text = `${String(error.code)} ${error.name} ${error.message}`;
  return FAILURES.find(({ matches }) => matches.test(text));
}

function firstLine(message: string): string {
  const line = message.split('\n', 1)[0] ?? '';
  return line.length > 200 ? `${line.slice(0, 197)}...` : line;
}

const SENT_ARGUMENTS = /,? with args beginning with:.*/s;

/**
 * ioredis hangs the command with all its arguments on its errors, and a server that does not know a command repeats what it
 * was sent: for a refused AUTH both are the password.
 */
function withoutArguments(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  if ('command' in error) delete error.command;
  const message = error.message.replace(SENT_ARGUMENTS, '');
  if (message !== error.message) {
    error.stack = error.stack?.split(error.message).join(message) ?? '';
    error.message = message;
  }
  return error;
}
