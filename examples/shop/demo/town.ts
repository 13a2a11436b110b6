/** The town around the shop: who visits it, and what they know of it. */
import { randomBytes } from 'node:crypto';
import type { Platform } from 'millrace';
import type { Database } from '../database.ts';
import { hashPassword } from '../passwords.ts';
import { STAFF } from '../stock.ts';
import { Visitor, type Tally } from './visitor.ts';

const CUSTOMERS = ['ada', 'bob', 'cleo', 'dan', 'eve', 'finn', 'gia', 'hugo', 'ida', 'jon', 'kim', 'lea', 'max', 'nia'];
const CUSTOMERS_MORE = ['otto', 'pia', 'quin', 'rosa', 'sam', 'tara', 'uma', 'vito', 'wim', 'xena', 'yara', 'zoe'];
const DOMAINS = ['example.com', 'example.org', 'example.net'];
/** Orders that somebody may still ship or cancel. */
const MOST_KNOWN = 200;

/** An order as its customer remembers it. */
export interface KnownOrder {
  readonly id: string;
  readonly customer: Visitor;
}

export class Town {
  readonly platform: Platform;
  readonly tally: Tally = { requests: 0, refused: 0, limited: 0, failed: 0, orders: 0 };
  readonly customers: readonly Visitor[];
  readonly staff: Visitor;
  /** Signed in nowhere, from an address of its own. */
  readonly stranger: Visitor;
  readonly warehouse: string;
  /** The latest ones. */
  readonly orders: KnownOrder[] = [];
  /** Aborts when the demo ends. */
  readonly closing: AbortSignal;

  constructor(options: {
    platform: Platform;
    shop: string;
    warehouse: string;
    staffPassword: string;
    closing: AbortSignal;
  }) {
    const { platform, shop, warehouse, staffPassword, closing } = options;
    this.platform = platform;
    this.warehouse = warehouse;
    this.closing = closing;
    this.customers = [...CUSTOMERS, ...CUSTOMERS_MORE].map(
      (id, at) => new Visitor(id, `198.51.100.${at + 1}`, shop, this.tally),
    );
    this.staff = new Visitor(STAFF, '203.0.113.1', shop, this.tally);
    this.staff.password = staffPassword;
    this.stranger = new Visitor('mallory', '192.0.2.66', shop, this.tally);
  }

  /** All of them have an account, with a password that only this run of the demo knows; the last one has moved, and mails come back. */
  async settle({ accounts }: Database): Promise<void> {
    const password = randomBytes(9).toString('base64url');
    const hash = await hashPassword(password);
    for (const [at, customer] of this.customers.entries()) {
      const { id } = customer;
      customer.password = password;
      const box = customer === this.customers.at(-1) ? `moved-${id}` : id;
      const name = id.charAt(0).toUpperCase() + id.slice(1);
      await accounts.put({
        id,
        name,
        mail: `${box}@${DOMAINS[at % DOMAINS.length]}`,
        role: 'customer',
        password: hash,
      });
    }
  }

  remember(order: KnownOrder): void {
    this.orders.push(order);
    if (this.orders.length > MOST_KNOWN) this.orders.shift();
  }

  /** One of the customers, signed in. */
  async customer(): Promise<Visitor> {
    const customer = oneOf(this.customers);
    if (!customer.isSignedIn) await customer.signIn();
    return customer;
  }
}

export function oneOf<T>(list: readonly [T, ...T[]] | readonly T[]): T {
  return list[Math.floor(Math.random() * list.length)] as T;
}
