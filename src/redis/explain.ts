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

/** Tried from the top; the first match decides. The text matched is `CODE message` of the innermost error that says more than "closed". */
const RULES: readonly Rule[] = [
  {
    matches:
      /WRONGPASS|NOAUTH|invalid password|invalid username-password|AUTH .*without any password|no password is set/i,
    code: 'REDIS_AUTH_FAILED',
    means:
      'the server refused the user or the password. Check REDIS_USERNAME and REDIS_PASSWORD, or the user and password in REDIS_URL',
  },
  {
    matches: /NOPERM/,
    code: 'REDIS_FORBIDDEN',
    means: 'the ACL user may not run a command that is needed. Grant it with ACL SETUSER',
  },
  {
    matches: /CLUSTERDOWN|cluster_state:fail|Cluster state/,
    code: 'REDIS_CLUSTER_DOWN',
    means:
      'the Cluster does not serve all of its slots. A master is down and no replica has taken over; see CLUSTER NODES',
  },
  {
    matches: /cluster support disabled|CROSSSLOT|^(ReplyError )?MOVED /,
    code: 'REDIS_WRONG_TOPOLOGY',
    means:
      'the server is of another kind than the options say. Use REDIS_CLUSTER_NODES for a Cluster and REDIS_URL for a single server',
  },
  {
    matches: /LOADING|MASTERDOWN|^(ReplyError )?BUSY/,
    code: 'REDIS_NOT_READY',
    means: 'the server is there but not ready: it loads its data, or is busy with a script',
  },
  {
    matches: /MISCONF/,
    code: 'REDIS_WRITES_REFUSED',
    means: 'the server takes no writes because it could not write to its disk. Free space there, or mend its folder',
  },
  {
    matches: /READONLY/,
    code: 'REDIS_WRITES_REFUSED',
    means: 'the server is a replica and takes no writes. Connect to the master, or through Sentinel',
  },
  {
    matches: /(^|\s)OOM /,
    code: 'REDIS_WRITES_REFUSED',
    means: 'the server takes no writes because it has reached maxmemory. Raise maxmemory, or remove data',
  },
  {
    matches: /ERR_TLS|ERR_SSL|CERT_|certificate|SSL routines|self.signed|wrong version number|EPROTO/i,
    code: 'REDIS_TLS_FAILED',
    means: 'the TLS handshake failed. Check that the server speaks TLS on this port, and REDIS_TLS_CA',
  },
  {
    matches: /Protocol error|ParserError/,
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
    matches: /Command timed out|Socket timeout/,
    code: 'REDIS_TIMEOUT',
    means: 'no answer within the deadline, so whether the command ran is not known',
  },
  {
    matches: /ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN/,
    code: 'REDIS_UNREACHABLE',
    means: 'the host does not answer. Check the network, the firewall and the address',
  },
  {
    matches: /All sentinels are unreachable/,
    code: 'REDIS_UNREACHABLE',
    means: 'no Sentinel answers. Check REDIS_SENTINELS',
  },
  {
    matches:
      /ECONNRESET|EPIPE|Connection is closed|max retries per request|aborted due to connection|ClusterAllFailedError|Failed to refresh slots|startup nodes|Stream isn't writeable/i,
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
  const text =
    `${codeOf(origin)} ${origin instanceof Error ? `${origin.name} ${origin.message}` : String(origin)}`.trim();
  const reply = text.replace(/^ReplyError /, '');
  const rule = RULES.find(({ matches }) => matches.test(reply));
  const said = origin instanceof Error ? firstLine(origin.message) : firstLine(String(origin));
  const cause = withoutArguments(origin);
  if (!rule) return new MillraceError('REDIS_FAILED', `Redis at ${label}: ${said}`, { address: label, cause });
  return new MillraceError(rule.code, `Redis at ${label}: ${rule.means} (${said})`, { address: label, cause });
}

/** The error that says most: a Cluster's or Sentinel's last node error rather than its summary. */
function innermost(error: unknown): unknown {
  let current = error;
  for (let depth = 0; depth < 5; depth++) {
    if (!(current instanceof Error)) break;
    const { lastNodeError } = current as { lastNodeError?: unknown };
    const inner: unknown = lastNodeError ?? (current instanceof AggregateError ? current.errors[0] : undefined);
    if (!(inner instanceof Error)) break;
    current = inner;
  }
  return current;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

function firstLine(message: string): string {
  const line = message.split('\n', 1)[0] ?? '';
  return line.length > 200 ? `${line.slice(0, 197)}...` : line;
}

/** ioredis hangs the command with all its arguments on its errors: a refused AUTH carries the password. */
function withoutArguments(error: unknown): unknown {
  if (error instanceof Error && 'command' in error) delete error.command;
  return error;
}
