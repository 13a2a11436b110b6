/**
 * Cursors of the list as they stand in addresses.
 *
 * A cursor names a letter of each queue that was looked at, so that of hundreds of queues it is longer than an address may be. Then Redis has it,
 * for an hour, and the address has its hash: a page that is loaded again writes the same key.
 */
import { createHash } from 'node:crypto';
import { createKeySpace, type Platform } from 'millrace';

const LONGEST = 2_000;
const KEEP_MS = 3_600_000;
/** No cursor begins with it. */
const MARK = '~';

/** Shortens cursors, and finds those that were shortened. */
export class Cursors {
  readonly #platform: Platform;

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  /** What stands in the address of the next page. */
  async shorten(cursor: string): Promise<string> {
    if (cursor.length <= LONGEST) return cursor;
    const hash = createHash('sha256').update(cursor).digest('base64url');
    await this.#client.set(this.#keyOf(hash), cursor, 'PX', KEEP_MS);
    return `${MARK}${hash}`;
  }

  /** The cursor that was meant; undefined for one that is kept no longer. */
  async find(text: string): Promise<string | undefined> {
    if (!text.startsWith(MARK)) return text;
    return (await this.#client.get(this.#keyOf(text.slice(MARK.length)))) ?? undefined;
  }

  get #client() {
    return this.#platform.redis.commands();
  }

  /** STRING, written by whoever shows the page before. */
  #keyOf(hash: string): string {
    return createKeySpace(this.#platform.prefix, 'dashboard')('letters', hash);
  }
}
