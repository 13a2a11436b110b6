/** Who counts as one caller, and what is kept of him. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { networkOf } from '../../src/http/caller-key.ts';
import { addressKey, userKey } from '../../src/http/index.ts';

const asText = (of: readonly number[]): string => of.map((group) => group.toString(16)).join(':');

describe('an address', () => {
  test.each([
    ['of IPv4 is its own network', '203.0.113.7', '203.0.113.7'],
    ['of IPv4 in the form of IPv6 is the IPv4 one', '::ffff:203.0.113.7', '203.0.113.7'],
    ['of IPv4 in hexadecimal is the IPv4 one', '::ffff:cb00:7107', '203.0.113.7'],
    ['of IPv4 in capitals is the IPv4 one', '::FFFF:203.0.113.7', '203.0.113.7'],
    ['of IPv4 behind a NAT64 is the IPv4 one', '64:ff9b::203.0.113.7', '203.0.113.7'],
    ['of a network that only begins like a NAT64 is one of IPv6', '64:ff9b:1::203.0.113.7', '64ff9b000100/56'],
    ['of IPv4 written out in full is the IPv4 one', '0:0:0:0:0:ffff:203.0.113.7', '203.0.113.7'],
    ['may have a port after it', '203.0.113.7:51234', '203.0.113.7'],
    ['may have a port after brackets', '[2001:db8:0:100::1]:443', '20010db8000001/56'],
    ['of IPv6 is its first 56 bits', '2001:db8:0:1ff:1:2:3:4', '20010db8000001/56'],
    ['of IPv6 may have a zone', 'fe80::1%eth0', 'fe800000000000/56'],
    ['of the machine itself is one', '::1', '0/56'],
  ])('%s', (_what, address, network) => {
    expect(networkOf(address, 56)?.replace(/^0+(?=.*\/)/, '')).toBe(network.replace(/^0+(?=.*\/)/, ''));
  });

  test.each([
    '',
    'unknown',
    '1.2.3',
    '1.2.3.4.5',
    '999.1.1.1',
    '01.2.3.4',
    ':::',
    '2001:db8::1::2',
    'a, b',
    '1.2.3.4,5.6.7.8',
  ])('%j is none, and shares a key with all others that are none', (text) => {
    expect(networkOf(text, 56)).toBeUndefined();
    expect(addressKey(text)).toBe(addressKey(undefined));
  });

  const groups = fc.array(fc.nat({ max: 0xffff }), { minLength: 8, maxLength: 8 });

  test('of IPv6 shares its key with exactly those of its first 56 bits', () => {
    fc.assert(
      fc.property(groups, groups, (one, two) => {
        if (one.slice(0, 5).every((group) => group === 0)) return; // May be an IPv4 address.
        const isNeighbour = [one[0], one[1], one[2], one[3]! & 0xff00, ...two.slice(4)] as number[];
        expect(addressKey(asText(isNeighbour))).toBe(addressKey(asText(one)));
        const stranger = [...one];
        stranger[3] = stranger[3]! ^ 0x0100;
        expect(addressKey(asText(stranger))).not.toBe(addressKey(asText(one)));
      }),
    );
  });

  test('of IPv6 is the same in whichever form it is written', () => {
    fc.assert(
      fc.property(groups, fc.nat({ max: 7 }), fc.nat({ max: 8 }), (of, from, length) => {
        const zeroed = of.map((group, at) => (at >= from && at < from + length ? 0 : group));
        const full = zeroed.map((group) => group.toString(16).padStart(4, '0')).join(':');
        const [head, tail] = [zeroed.slice(0, from), zeroed.slice(from + length)];
        const short = length === 0 ? asText(zeroed) : `${asText(head)}::${asText(tail)}`.toUpperCase();
        expect(networkOf(short, 128)).toBe(networkOf(full, 128));
      }),
    );
  });

  test('is cut where the option says', () => {
    const [one, other] = ['2001:db8:0:1::1', '2001:db8:0:2::1'];
    expect(addressKey(one, { ipv6Prefix: 64 })).not.toBe(addressKey(other, { ipv6Prefix: 64 }));
    expect(addressKey(one, { ipv6Prefix: 48 })).toBe(addressKey(other, { ipv6Prefix: 48 }));
    expect(addressKey('203.0.113.7', { ipv6Prefix: 48 })).toBe(addressKey('203.0.113.7'));
  });

  test('stands in no key in the clear, and with a secret cannot be found by trying all', () => {
    const key = addressKey('203.0.113.7');
    expect(key).toMatch(/^ip:[\w-]{22}$/);
    expect(addressKey('203.0.113.7', { secret: 'a secret of sixteen' })).not.toBe(key);
    expect(addressKey('203.0.113.7', { secret: 'a secret of sixteen' })).toBe(
      addressKey('::ffff:203.0.113.7', { secret: 'a secret of sixteen' }),
    );
  });
});

test('an id of a user is kept as it is, or hashed where it is very long', () => {
  expect([userKey('ada'), userKey(7), userKey(0), userKey(7n)]).toEqual(['user:ada', 'user:7', 'user:0', 'user:7']);
  const long = userKey('x'.repeat(5_000));
  expect(long).toMatch(/^user:#[\w-]{22}$/);
  expect(userKey('x'.repeat(5_001))).not.toBe(long);
});
