/**
 * The keys under which callers are counted.
 *
 * An address is cut to what one customer of a provider holds, because whoever has a /56 of IPv6 has 2^72 addresses; and it is hashed,
 * so that Redis holds no address in the clear. There are few enough IPv4 addresses to try them all: only with a secret can nobody who
 * reads the keys find out whose they are.
 */
import { createHash, createHmac } from 'node:crypto';
import { isIPv4, isIPv6 } from 'node:net';

/** How addresses become keys. */
export interface AddressKeyOptions {
  /** How many bits of an IPv6 address tell one caller from another. Default 56. */
  ipv6Prefix?: number | undefined;
  /** Makes keys that cannot be traced back to addresses. The same in all processes; another one begins all counts anew. */
  secret?: string | undefined;
}

/** What most providers give to one customer at most. */
export const DEFAULT_IPV6_PREFIX = 56;
/** What is no address shares one key: such a text is made up by the caller, who could make up another one each time. */
const NO_ADDRESS = 'unknown';
const LONGEST_PLAIN_ID = 100;
/** What IPv4 addresses look like to IPv6, as of a socket that takes both (RFC 4291), and behind a NAT64 (RFC 6052). */
const IPV4_PREFIXES = ['00000000000000000000ffff', '0064ff9b0000000000000000'];
const IPV4_AT = 24;

/**
 * The key of a caller that is known by his address only, such as for `limiter.reset()`.
 *
 * @example
 * await anonymous.reset(addressKey('203.0.113.7'));
 */
export function addressKey(address: string | undefined, options: AddressKeyOptions = {}): string {
  const { ipv6Prefix = DEFAULT_IPV6_PREFIX, secret } = options;
  return `ip:${hashOf(networkOf(address ?? '', ipv6Prefix) ?? NO_ADDRESS, secret)}`;
}

/**
 * The key of a caller that is signed in. An id is kept as it is, unless it is very long.
 *
 * @example
 * await signedIn.reset(userKey(4711));
 */
export function userKey(id: string | number | bigint): string {
  const text = String(id);
  return text.length <= LONGEST_PLAIN_ID ? `user:${text}` : `user:#${hashOf(text, undefined)}`;
}

/**
 * The part of an address that stands for one caller, as text: an IPv4 address, or the prefix of an IPv6 one. An IPv4 address in the
 * form of IPv6 is the IPv4 address. Undefined for what is no address.
 */
export function networkOf(text: string, ipv6Prefix: number): string | undefined {
  const address = withoutPort(text.trim());
  if (isIPv4(address)) return address;
  const bare = address.split('%', 1)[0] ?? ''; // Without the zone, which is of the server and not of the caller.
  if (!isIPv6(bare)) return undefined;
  const hex = hexOf(bare);
  if (IPV4_PREFIXES.includes(hex.slice(0, IPV4_AT))) return ipv4Of(hex.slice(IPV4_AT));
  const bits = BigInt(`0x${hex}`) >> BigInt(128 - ipv6Prefix);
  return `${bits.toString(16)}/${ipv6Prefix}`;
}

/** Some proxies add the port of their caller. */
function withoutPort(text: string): string {
  const bracketed = /^\[([^\]]+)\](?::\d+)?$/.exec(text);
  if (bracketed) return bracketed[1] ?? '';
  return /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(text)?.[1] ?? text;
}

/** The 32 hex digits of an IPv6 address in any of its forms. */
function hexOf(address: string): string {
  const [head = '', tail] = address.toLowerCase().split('::', 2);
  const before = groupsOf(head);
  const after = groupsOf(tail ?? '');
  const zeros = '0000'.repeat(8 - before.length - after.length);
  return before.join('') + zeros + after.join('');
}

function groupsOf(part: string): string[] {
  if (part === '') return [];
  return part.split(':').flatMap((group) => {
    if (!group.includes('.')) return group.padStart(4, '0');
    const hex = group.split('.').map((byte) => Number(byte).toString(16).padStart(2, '0'));
    return [`${hex[0]}${hex[1]}`, `${hex[2]}${hex[3]}`];
  });
}

function ipv4Of(hex: string): string {
  return [0, 2, 4, 6].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)).join('.');
}

/** 128 bits are too many for two callers ever to meet. */
function hashOf(text: string, secret: string | undefined): string {
  const hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret);
  return hash.update(text).digest('base64url').slice(0, 22);
}
