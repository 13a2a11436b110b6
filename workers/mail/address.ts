/**
 * Addresses of mail, as people write them: `ada@example.com`, `Ada <ada@example.com>`, `{ name, address }`.
 *
 * What gets through is one address and one line, so that nothing of it can become a second recipient or a header.
 */
import { isIP } from 'node:net';
import { domainToASCII, domainToUnicode } from 'node:url';
import { z } from 'zod';
import { ONE_LINE } from '../one-line.ts';

/** An address, with or without the name that is shown for it. */
export type Address = string | { name?: string | undefined; address: string };

/** A checked address. */
export interface Mailbox {
  /** Empty for none. */
  readonly name: string;
  /** With its domain as it stands in DNS. */
  readonly address: string;
}

export const ADDRESS_FORM = "an address such as ada@example.com, or 'Ada <ada@example.com>'";

const LONGEST_ADDRESS = 254;
const LONGEST_LOCAL_PART = 64;
const LONGEST_NAME = 200;
/** Quotes, brackets and commas are left out: they are allowed in theory, and a trap in practice. Letters of any script are in. */
const LOCAL_PART = /^[\p{L}\p{N}!#$%&'*+/=?^_`{|}~-]+(?:\.[\p{L}\p{N}!#$%&'*+/=?^_`{|}~-]+)*$/u;
/** Looked at first: domainToASCII() drops line breaks, decodes %xx and ends at a slash. */
const DOMAIN = /^[\p{L}\p{N}\p{M}.-]+$/u;
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;
const WITH_NAME = /^\s*(?:"(?<quoted>[^"\\]*)"|(?<plain>[^"<>@]*?))\s*<(?<address>[^<>\s]+)>\s*$/u;

/** The domain of an address, as it stands in DNS: in lower case, `bücher.example` as `xn--bcher-kva.example`. */
export function domainOf(address: string): string {
  return domainToASCII(address.slice(address.lastIndexOf('@') + 1)).toLowerCase();
}

/** The address as people read it: `ada@xn--bcher-kva.example` as `ada@bücher.example`. */
export function readableOf(address: string): string {
  const at = address.lastIndexOf('@') + 1;
  return address.slice(0, at) + domainToUnicode(address.slice(at));
}

/** Undefined for what is no address. */
export function parseAddress(given: Address): Mailbox | undefined {
  const { name = '', address } = typeof given === 'string' ? split(given) : given;
  if (name.length > LONGEST_NAME || !ONE_LINE.test(name)) return undefined;
  const at = address.lastIndexOf('@');
  const [local, written] = [address.slice(0, Math.max(at, 0)), address.slice(at + 1)];
  const domain = DOMAIN.test(written) ? domainOf(address) : '';
  const isAddress =
    local.length <= LONGEST_LOCAL_PART &&
    local.length + domain.length < LONGEST_ADDRESS &&
    LOCAL_PART.test(local) &&
    HOST_NAME.test(domain) &&
    isIP(domain) === 0; // What is written as 0x7f.1 means one, too.
  return isAddress ? { name, address: `${local}@${domain}` } : undefined;
}

function split(text: string): { name?: string; address: string } {
  const { quoted, plain, address } = WITH_NAME.exec(text)?.groups ?? {};
  return address === undefined ? { address: text } : { name: (quoted ?? plain ?? '').trim(), address };
}

/** Takes what people write, gives a Mailbox. */
export const addressSchema: z.ZodType<Mailbox, Address> = z
  .union([z.string(), z.strictObject({ name: z.string().optional(), address: z.string() })], {
    error: `expected ${ADDRESS_FORM}`,
  })
  .transform((given, context) => {
    const parsed = parseAddress(given);
    if (parsed) return parsed;
    context.addIssue(`expected ${ADDRESS_FORM}`);
    return z.NEVER;
  });
