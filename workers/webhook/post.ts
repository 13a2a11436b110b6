/**
 * One request, and the redirects that it meets.
 *
 * Promise: each hop is resolved, checked and connected to by itself (addresses.ts); no proxy and no kept connection stands between. What the
 * receiver sends is bounded: 16 KB of headers, so much of a body, and all of it in one time. The body is the same on all hops, as a
 * signature needs; a redirect that asks for a GET (303) is an answer like any other.
 */
import { request as requestHttp, type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { LookupFunction } from 'node:net';
import { unrecoverable } from 'millrace';
import { checkedAddresses, type Allowed, type Resolve, type ResolvedAddress } from './addresses.ts';

/** How far requests may go. */
export interface PostRules {
  /** How many redirects are followed. */
  redirects: number;
  allowHttp: boolean;
  allowed: Allowed;
  /** How much of an answer is read. */
  maxResponseBytes: number;
  /** For all hops together. */
  timeoutMs: number;
  resolve: Resolve;
}

/** What is posted. */
export interface PostRequest {
  url: string;
  body: string;
  headers: Readonly<Record<string, string>>;
  /** Only to the origin that the job names. */
  ownHeaders: Readonly<Record<string, string>>;
  signal: AbortSignal;
}

/** What was answered in the end. */
export interface Answer {
  status: number;
  retryAfter: string | undefined;
  /** The start of the body. */
  text: string;
}

/** A receiver that could not be asked or has not answered in time. */
export class WebhookFailed extends Error {
  override readonly name = 'WebhookFailed';
  /** Such as `ECONNREFUSED`. */
  readonly code: string;

  constructor(message: string, code: string) {
    super(message);
    this.code = code;
  }
}

const FOLLOWED: ReadonlySet<number> = new Set([301, 302, 307, 308]);
const MOST_HEADER_BYTES = 16_384;
/** A body that drips is not waited for longer: the status has said what matters. */
const BODY_WITHIN_MS = 2_000;
const SHOWN_TEXT = 200;

/** @throws WebhookFailed, MillraceError JOB_UNRECOVERABLE for an address that may not be asked, the signal's reason */
export async function post(request: PostRequest, rules: PostRules): Promise<Answer> {
  const late = AbortSignal.timeout(rules.timeoutMs);
  const signal = AbortSignal.any([request.signal, late]);
  let url = new URL(request.url);
  try {
    for (let hops = 0; ; hops++) {
      signal.throwIfAborted();
      // Whatever a receiver makes of the connection, and whatever Node tells of it.
      const answer = await unlessAborted(hop(url, request, rules, signal), signal);
      if (!FOLLOWED.has(answer.status) || answer.location === undefined || rules.redirects === 0) return answer;
      if (hops === rules.redirects)
        throw new WebhookFailed(`${url.host} redirects once more after ${hops} redirects`, 'TOO_MANY_REDIRECTS');
      if (!URL.canParse(answer.location, url.href))
        throw new WebhookFailed(`${url.host} redirects to no address`, 'BAD_REDIRECT');
      url = new URL(answer.location, url.href);
    }
  } catch (error) {
    request.signal.throwIfAborted(); // Its reason says why the attempt ends.
    if (late.aborted) throw new WebhookFailed(`${url.host} did not answer within ${rules.timeoutMs} ms`, 'ETIMEDOUT');
    if (error instanceof WebhookFailed || (error as { code?: string }).code === 'JOB_UNRECOVERABLE') throw error;
    const { code = 'EFAILED' } = error as NodeJS.ErrnoException;
    throw new WebhookFailed(`${url.host} cannot be reached or hung up (${code})`, code);
  }
}

async function hop(
  url: URL,
  { url: first, body, headers, ownHeaders }: PostRequest,
  { allowHttp, allowed, resolve, maxResponseBytes }: PostRules,
  signal: AbortSignal,
): Promise<Answer & { location: string | undefined }> {
  if (url.protocol !== 'https:' && !(allowHttp && url.protocol === 'http:'))
    throw unrecoverable(`${url.host}: expected https, got ${url.protocol}//; nothing was sent`);
  const addresses = await unlessAborted(checkedAddresses(url.hostname, allowed, resolve), signal);
  if (addresses.length === 0) throw new WebhookFailed(`${url.host} has no address`, 'ENOTFOUND');
  const send = url.protocol === 'https:' ? requestHttps : requestHttp;
  const outgoing = send(url, {
    method: 'POST',
    headers: {
      ...(url.origin === new URL(first).origin && ownHeaders),
      ...headers,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'user-agent': 'millrace-webhooks',
      connection: 'close',
    },
    agent: false,
    lookup: lookupOf(addresses),
    maxHeaderSize: MOST_HEADER_BYTES,
    signal,
  } satisfies RequestOptions);
  try {
    const response = await answerTo(outgoing, body);
    const text = await startOf(response, maxResponseBytes);
    return {
      status: response.statusCode ?? 0,
      location: response.headers.location,
      retryAfter: response.headers['retry-after'],
      text,
    };
  } finally {
    outgoing.destroy();
  }
}

/** Gives the addresses that were checked, whatever the name means by now. */
function lookupOf(addresses: readonly ResolvedAddress[]): LookupFunction {
  return (_host, { all }, callback) => {
    const [first] = addresses;
    if (all) callback(null, [...addresses]);
    else callback(null, first?.address ?? '', first?.family);
  };
}

function answerTo(outgoing: ClientRequest, body: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    outgoing.once('response', resolve);
    // Stays: what is destroyed later may fail once more.
    outgoing.on('error', reject);
    outgoing.once('upgrade', (_response, socket) => {
      socket.destroy();
      reject(Object.assign(new Error('the receiver changes the protocol'), { code: 'BAD_UPGRADE' }));
    });
    outgoing.once('close', () => reject(new Error('the connection is closed')));
    outgoing.end(body);
  });
}

/** As one line of text; cut where it is too long, takes too long or breaks off. */
function startOf(response: IncomingMessage, mostBytes: number): Promise<string> {
  return new Promise((resolve) => {
    const pieces: Buffer[] = [];
    let size = 0;
    const end = (): void => {
      clearTimeout(timer);
      const text = Buffer.concat(pieces)
        .subarray(0, SHOWN_TEXT * 4)
        .toString();
      resolve(
        text
          .replaceAll(/[\s\p{Cc}]+/gu, ' ')
          .trim()
          .slice(0, SHOWN_TEXT),
      );
    };
    const timer = setTimeout(end, BODY_WITHIN_MS);
    response.on('data', (piece: Buffer) => {
      size += piece.length;
      pieces.push(piece);
      if (size >= mostBytes) end();
    });
    for (const event of ['end', 'error', 'close'] as const) response.once(event, end);
    response.on('error', () => undefined); // It breaks off: the status is known.
  });
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
