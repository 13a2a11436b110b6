/**
 * The shop's database: tables of rows by id. A real shop has Postgres here. Hashes of Redis do for one that is to run with nothing beside it; the
 * rest of the shop would not notice the difference.
 */
import type { Platform } from 'millrace';

/** What is sold. */
export interface Product {
  readonly id: string;
  readonly name: string;
  readonly about: string;
  readonly cents: number;
}

/** Who may sign in. */
export interface Account {
  readonly id: string;
  readonly name: string;
  readonly mail: string;
  readonly role: 'customer' | 'staff';
  /** Hashed: see passwords.ts. */
  readonly password: string;
}

/** All tables. */
export interface Database {
  readonly products: Table<Product>;
  readonly accounts: Table<Account>;
}

/** Rows by id. */
export class Table<Row extends { readonly id: string }> {
  readonly #platform: Pick<Platform, 'redis'>;
  readonly #key: string;

  constructor(platform: Pick<Platform, 'redis'>, key: string) {
    this.#platform = platform;
    this.#key = key;
  }

  async get(id: string): Promise<Row | undefined> {
    return (await this.getMany([id])).get(id);
  }

  /** Those that there are. */
  async getMany(ids: readonly string[]): Promise<Map<string, Row>> {
    if (ids.length === 0) return new Map();
    const texts = await this.#platform.redis.commands().hmget(this.#key, ...ids);
    const rows = texts.filter((text) => text !== null).map((text) => JSON.parse(text) as Row);
    return new Map(rows.map((row) => [row.id, row]));
  }

  async ids(): Promise<string[]> {
    return this.#platform.redis.commands().hkeys(this.#key);
  }

  async put(row: Row): Promise<void> {
    await this.#platform.redis.commands().hset(this.#key, row.id, JSON.stringify(row));
  }

  /** False where there is a row of that id: it stays. */
  async add(row: Row): Promise<boolean> {
    return (await this.#platform.redis.commands().hsetnx(this.#key, row.id, JSON.stringify(row))) === 1;
  }
}

/** The tables of a platform's Redis. */
export function openDatabase(platform: Pick<Platform, 'redis' | 'prefix'>): Database {
  return {
    products: new Table<Product>(platform, `${platform.prefix}:shop:products`),
    accounts: new Table<Account>(platform, `${platform.prefix}:shop:accounts`),
  };
}
