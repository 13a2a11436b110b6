/**
 * Which addresses of the network a job may have requests sent to.
 *
 * Promise: what is not the public internet is refused: this machine, private and link-local networks, the metadata services of clouds,
 * multicast, what is reserved, and IPv6 that carries such an IPv4 address. Names are resolved once, all their addresses are looked at, and the
 * connection is made to these: a name that means something else a moment later leads nowhere else.
 */
import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import { unrecoverable } from 'millrace';

/** An address, and what it is of. */
export interface ResolvedAddress {
  address: string;
  family: number;
}

/** All addresses of a name. */
export type Resolve = (host: string) => Promise<readonly ResolvedAddress[]>;

/**
 * By the system, so that /etc/hosts counts as it does for all other programs. Each takes one of the process's four threads for as long as it
 * takes: names that are slow on purpose must not take them all.
 */
export const resolveBySystem: Resolve = inTurns(2, (host) => lookup(host, { all: true, verbatim: true }));

/** So many at once; the others wait. */
export function inTurns(most: number, resolve: Resolve): Resolve {
  const waiting: Array<() => void> = [];
  let free = most;
  return async (host) => {
    if (free > 0) free--;
    else await new Promise<void>((begin) => waiting.push(begin));
    try {
      return await resolve(host);
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
}

const IPV4_REFUSED = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10', // Carrier-grade NAT, and the metadata of some clouds.
  '127.0.0.0/8',
  '168.63.129.16/32', // Azure's own services, at a public address.
  '169.254.0.0/16', // Link-local; metadata of most clouds.
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
];
/** Within 2000::/3, which alone is given out. */
const IPV6_REFUSED = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];
const NAT64 = networksOf(['64:ff9b::/96']);
const refused = networksOf([...IPV4_REFUSED, ...IPV6_REFUSED]);
const global6 = networksOf(['2000::/3']);

/** Whether the address is of the public internet. */
export function isPublic(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !refused.check(address, 'ipv4');
  if (family !== 6 || address.includes('%')) return false;
  // Networks of IPv6 only reach the IPv4 internet by such addresses.
  if (NAT64.check(address, 'ipv6')) return isPublic(lastFour(address));
  return global6.check(address, 'ipv6') && !refused.check(address, 'ipv6');
}

/** The networks that lists such as `10.1.0.0/16`, `fd00::/8` or `10.1.2.3` name. @throws RangeError for a bad one, and for one that is everything */
export function networksOf(list: readonly string[]): BlockList {
  const networks = new BlockList();
  for (const entry of list) {
    // Number() takes more than digits, and the empty text for 0.
    const { network = '', bits } = /^(?<network>[^/]+)(?:\/(?<bits>[1-9]\d{0,2}))?$/.exec(entry)?.groups ?? {};
    if (isIP(network) === 0) throw new RangeError(`expected a network such as 10.1.0.0/16, got ${entry}`);
    const family = isIP(network) === 6 ? 'ipv6' : 'ipv4';
    if (bits === undefined) networks.addAddress(network, family);
    else networks.addSubnet(network, Number(bits), family);
  }
  return networks;
}

/** Which addresses beside the public ones may be asked: none, all, or those of these networks. */
export type Allowed = boolean | BlockList;

/**
 * The addresses of the host, all of which may be asked.
 *
 * @throws MillraceError JOB_UNRECOVERABLE for one that may not, what resolving met
 */
export async function checkedAddresses(
  host: string,
  allowed: Allowed,
  resolve: Resolve,
): Promise<readonly ResolvedAddress[]> {
  const literal = host.replace(/^\[(.*)\]$/, '$1');
  const family = isIP(literal);
  const addresses = family === 0 ? await resolve(host) : [{ address: literal, family }];
  for (const { address, family: kind } of addresses) {
    const isOurs = allowed === true || (allowed !== false && allowed.check(address, kind === 6 ? 'ipv6' : 'ipv4'));
    if (!isOurs && !isPublic(address))
      throw unrecoverable(`${host} is ${address}, which is not an address of the public internet; nothing was sent`);
  }
  return addresses;
}

/** The IPv4 address in the last 32 bits of an IPv6 one. */
function lastFour(address: string): string {
  const dotted = /:(\d+\.\d+\.\d+\.\d+)$/.exec(address)?.[1];
  if (dotted !== undefined) return dotted;
  const shown = new URL(`http://[${address}]`).hostname.slice(1, -1); // In its shortest form, without dots.
  const groups = (shown.endsWith('::') ? `${shown}0` : shown).split(':');
  const [high = '0', low = '0'] = groups.slice(-2);
  const value = (parseInt(high === '' ? '0' : high, 16) << 16) | parseInt(low, 16);
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}
