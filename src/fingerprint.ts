/**
 * What makes two failures the same: the class of the error, its message without what varies, and where in the user's own
 * code it was thrown.
 *
 * Promise: a fingerprint does not change with numbers, ids, addresses and times in the message, nor with line numbers,
 * the folder of the application, its file endings (.ts or .js) or the depth of a recursion; so it survives a deploy and
 * is the same in every container. What the marks hide is lost on purpose: `user 17 not found` and `user 42 not found` are
 * one cluster. Status and exit codes stay, because a 404 is another failure than a 500.
 */
import { createHash } from 'node:crypto';
import { CAUSED_BY } from './describe-error.ts';

/** What a fingerprint is made of. */
export interface Failure {
  name: string;
  message: string;
  stack: string;
  /** Name of the contract, to keep the same failure of two contracts apart. */
  contract?: string | undefined;
}

/** How many frames of own code count. */
const MOST_FRAMES = 5;
/** More of a message is never looked at, so that a message of megabytes costs nothing. */
const LONGEST_READ = 4_096;
const LONGEST_SHOWN = 256;

/**
 * 16 hex digits that are the same for failures of one kind.
 *
 * @example
 * fingerprintOf(describeError(new RangeError('user 17 not found')));
 */
export function fingerprintOf({ name, message, stack, contract = '' }: Failure): string {
  const parts = [contract, name, normaliseMessage(message), ...ownFrames(stack, message)];
  return createHash('sha1').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

/** Tried in order at each place of the message; one pass, so that no mark is read as text again. */
const VARYING = new RegExp(
  [
    String.raw`(?<escape>\u001B\[[\d;]*m)`,
    String.raw`(?<url>\b[a-zA-Z][a-zA-Z\d+.-]{0,20}:\/\/[^\s"'<>\u0060]+)`,
    String.raw`(?<email>(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+)`,
    // The engine quotes names of code: reading 'id' of undefined is another bug than reading 'total'.
    String.raw`(?<code>(?<=\b(?:reading|setting|property|access) )'[^'\n]*')`,
    String.raw`(?<text>"(?:[^"\\\n]|\\.)*"|(?<!\w)'[^'\n]*'(?!\w)|\u0060[^\u0060\n]*\u0060)`,
    String.raw`(?<uuid>(?<![\w-])[\da-fA-F]{8}(?:-[\da-fA-F]{4}){3}-[\da-fA-F]{12}(?![\w-]))`,
    String.raw`(?<date>(?<!\w)\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?Z| ?[+-]\d\d:?\d\d)?)?(?!\w))`,
    String.raw`(?<time>(?<![\w:])\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?![\w:]))`,
    String.raw`(?<ip>(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?![\w.]*\w)|(?<![\w:])(?:[\da-fA-F]{1,4}:){7}[\da-fA-F]{1,4}(?![\w:])|(?<![\w:])(?=:*[\da-fA-F])(?:[\da-fA-F]{1,4}(?::[\da-fA-F]{1,4}){0,6})?::(?:[\da-fA-F]{1,4}(?::[\da-fA-F]{1,4}){0,6})?(?![\w:]))`,
    String.raw`(?<route>(?<=\b(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) )\/[^\s"'<>]*)`,
    String.raw`(?<path>(?<![\w/.])(?:\.{0,2}\/[\w.@+~-]+(?:\/[\w.@+~-]*)*|[a-zA-Z]:\\[^\s"'<>|:]+))`,
    String.raw`(?<status>(?<=\b(?:[Ss]tatus|[Cc]ode|errno|HTTP)(?:: ?| |=))-?\d{1,3}(?![\w.,:-]*\d))`,
    String.raw`(?<duration>(?<![\w.])\d+(?:\.\d+)? ?(?:ns|us|µs|ms|msecs?|s|secs?|seconds?|milliseconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|weeks?)(?!\w))`,
    String.raw`(?<size>(?<![\w.])\d+(?:\.\d+)? ?(?:[kKMGT]i?B|[bB]ytes?|B)(?!\w))`,
    String.raw`(?<hex>(?<!\w)0x[\da-fA-F]+(?!\w))`,
    String.raw`(?<number>(?<![\w)])[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?%?(?![\w-]))`,
    String.raw`(?<token>\w+(?:-\w+)*)`,
  ].join('|'),
  'gu',
);

type Mark = (found: string) => string;

const MARKS: Readonly<Record<string, Mark>> = {
  escape: () => '',
  url: markUrl,
  code: (found) => found,
  status: (found) => found,
  text: (found) => (/^.(?:\.{0,2}\/|[a-zA-Z]:\\)/.test(found) ? '<path>' : '<text>'),
  route: markSegments,
  token: markToken,
};

/**
 * The message with marks for what varies from one failure to the next, as a cluster's title.
 *
 * @example
 * normaliseMessage('user 17 not found after 1.5s'); // 'user <number> not found after <duration>'
 */
export function normaliseMessage(message: string): string {
  const marked = message.slice(0, LONGEST_READ).replaceAll(VARYING, (found: string, ...rest: unknown[]) => {
    const groups = rest.at(-1) as Record<string, string | undefined>;
    const kind = Object.keys(groups).find((name) => groups[name] !== undefined) ?? 'token';
    return MARKS[kind]?.(found) ?? `<${kind}>`;
  });
  // A list of three ids is the same failure as a list of four.
  const short = marked
    .replaceAll(/(<\w+>)(?:,? ?\1)+/g, '$1...')
    .replaceAll(/\s+/g, ' ')
    .trim();
  return short.length > LONGEST_SHOWN ? `${short.slice(0, LONGEST_SHOWN - 3)}...` : short;
}

/** The host and the fixed words of a URL stay: they say which service failed. User, port and query go. */
function markUrl(url: string): string {
  const [, scheme = '', authority = '', path = ''] = /^(\w[\w+.-]*:\/\/)([^/?#]*)([^?#]*)/.exec(url) ?? [];
  if (scheme.toLowerCase() === 'file://') return '<path>';
  const host = authority.replace(/^.*@/, '').replace(/:\d+$/, '');
  const isIp = /^[\d.]+$|^\[/.test(host);
  return `${scheme}${isIp ? '<ip>' : host.split('.').map(markToken).join('.')}${markSegments(path)}`;
}

/** A path without its query; words stay, and what looks like an id does not. */
function markSegments(path: string): string {
  const [plain = ''] = path.split(/[?#]/, 1);
  return plain
    .split('/')
    .map((segment) => (/^v\d{1,2}$/.test(segment) || !/\d|%|@/.test(segment) ? segment : '<id>'))
    .join('/');
}

/** A word with digits: `order-17` keeps its word, `cus_9xK2mQ` its prefix, anything else is an id. */
function markToken(token: string): string {
  if (!/\d/.test(token)) return token;
  if (/^(?=.*[a-f])[\da-f]{8,}$|^(?=.*[A-F])[\dA-F]{8,}$/.test(token)) return '<hex>';
  const parts = token.split(/([_-])/);
  if (parts.every((part) => /^[a-zA-Z]*\d*$|^[_-]$/.test(part))) {
    return parts.map((part) => part.replace(/\d+$/, '<number>')).join('');
  }
  return `${/^[a-z]{2,10}_(?=.)/.exec(token)?.[0] ?? ''}<id>`;
}

/** Up to five places of own code, from the throw outwards: file and function without folder, line or column. */
function ownFrames(stack: string, message: string): string[] {
  // A message may hold lines that look like frames.
  const body = message === '' ? stack : stack.replace(message, '');
  const sections = body.split(`\n${CAUSED_BY}`);
  // What an engine's own call threw (a refused connection) has no frame of ours; then the causes tell where.
  const frames = sections.map(framesOf).find((found) => found.length > 0) ?? [];
  return frames.slice(0, MOST_FRAMES);
}

function framesOf(section: string): string[] {
  const frames = section.split('\n').flatMap((line) => frameOf(line) ?? []);
  return frames.filter((frame, index) => frame !== frames[index - 1]); // A recursion is one frame, however deep.
}

/** `file function` of a line of a stack; undefined when it is no frame, or one of a package or of Node itself. */
function frameOf(line: string): string | undefined {
  const frame = /^\s*at (?:async )?(.+)$/.exec(line.trimEnd())?.[1];
  if (frame === undefined) return undefined;
  const open = frame.endsWith(')') ? frame.indexOf(' (') : -1;
  const caller = open === -1 ? '' : frame.slice(0, open);
  const place = open === -1 ? frame : frame.slice(open + 2, -1);
  // Code made by eval is placed where its eval stands.
  const location = /^eval at .*?\(([^()]+:\d+:\d+)\)/.exec(place)?.[1] ?? place;
  const path = /^(.*?)(?::\d+){1,2}$/.exec(location)?.[1];
  if (path === undefined || /^node:|^internal\/|[\\/]node_modules[\\/]|^<anonymous>$/.test(path)) return undefined;
  return `${fileName(path)} ${functionName(caller)}`;
}

/** Without folder, query, ending and the hash that bundlers add. */
function fileName(path: string): string {
  const name =
    path
      .replace(/[?#].*$/, '')
      .split(/[\\/]/)
      .at(-1) ?? '';
  return name.replace(/\.[cm]?[jt]sx?$/, '').replace(/[.-](?=[\w-]*\d)\w{8,}$/, '');
}

function functionName(caller: string): string {
  const name = caller.replace(/ \[as [^\]]*\]$/, '').replace(/^(?:Object|Module|Function|exports)\./, '');
  return name === '' ? '<anonymous>' : name;
}
