/** The ring of a reliable topic: the last messages, as Redis keeps them. */
import { isMillraceError } from '../errors.ts';
import type { Connections } from '../redis/connect.ts';
import type { Guard } from '../redis/guard.ts';
import type { KeySpace } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { comparePositions, ofRing, type Envelope, type Position } from './envelope.ts';

const RING_KEYS = ['ring', 'last'] as const;

export const publishScript = defineScript({
  file: 'pubsub/publish.lua',
  keys: RING_KEYS,
  args: ['channel', 'publishVerb', 'topic', 'echo', 'body', 'keep', 'ageMs'],
  reply: ([position, receivers]: [Position, number]) => ({ position, receivers }),
});

export const readAfterScript = defineScript({
  file: 'pubsub/read-after.lua',
  keys: RING_KEYS,
  args: ['after', 'count'],
  reply: ([last, entries]: [string, Array<[string, string[]]>]) => ({ last, entries }),
});

/** Messages that nobody can have any more, between two positions. */
export interface Missing {
  /** The last that was known. */
  readonly from: Position;
  /** The last that is missing; undefined where Redis does not know any more. */
  readonly to: Position | undefined;
}

/** What comes after a position. */
export interface RingPage {
  readonly messages: Envelope[];
  /** Where the next page begins. */
  readonly next: Position;
  readonly missing: Missing | undefined;
  /** Whether there was nothing more at that moment. */
  readonly isEnd: boolean;
  /** Nothing was ever said as late as what was asked for, as far as Redis knows; the next page begins after the last message. */
  readonly isAhead: boolean;
}

const LARGEST_PAGE = 100;
/** What one answer of Redis may bring at most, if every message is as large as it may be. */
const LARGEST_PAGE_BYTES = 4_194_304;

/** As Redis answers. */
interface RawPage {
  readonly last: string;
  readonly entries: Array<[string, string[]]>;
}

/** Reads one ring. */
export class Ring {
  readonly #connections: Pick<Connections, 'commands'>;
  readonly #guard: Guard;
  readonly #keys: { ring: string; last: string };
  readonly #onMalformed: () => void;
  readonly #largestPage: number;
  /** Smaller while Redis is too slow for a large one. */
  #page: number;

  constructor(
    connections: Pick<Connections, 'commands'>,
    guard: Guard,
    keys: { ring: string; last: string },
    maxBytes: number,
    onMalformed: () => void,
  ) {
    this.#connections = connections;
    this.#guard = guard;
    this.#keys = keys;
    this.#onMalformed = onMalformed;
    this.#largestPage = Math.max(1, Math.min(LARGEST_PAGE, Math.floor(LARGEST_PAGE_BYTES / maxBytes)));
    this.#page = this.#largestPage;
  }

  /** The position of the last message; `''` before the first one. */
  async last(): Promise<Position> {
    const { last } = await this.#read('', 0);
    return last;
  }

  /**
   * @param after A position, `''` for what comes after nothing; undefined for whatever is kept, so that nothing can be missing.
   * @param most How many messages at most; a page of large ones has fewer.
   */
  async after(after: Position | undefined, most = LARGEST_PAGE): Promise<RingPage> {
    const count = Math.min(most, this.#page);
    const { last, entries } = await this.#readPage(after ?? '', count);
    const messages: Envelope[] = [];
    let next = after ?? '';
    let missing: Missing | undefined;
    for (const [index, [position, fields]] of entries.entries()) {
      const { topic = '', before = '', echo = '', body = '' } = pairs(fields);
      const message = ofRing(topic, position, before, echo, body);
      if (index === 0 && after !== undefined) missing = gapBefore(after, message?.before);
      if (message) messages.push(message);
      else this.#onMalformed();
      next = position;
    }
    const isEnd = entries.length < count;
    const isAhead = false;
    if (entries.length > 0) return { messages, next, missing, isEnd, isAhead };
    // Nothing is kept after it: either nothing was said, or what was said is too old, or Redis has lost it all.
    if (after === undefined || last === after) return { messages, next: last, missing, isEnd, isAhead };
    if (last === '') return { messages, next: '', missing: { from: after, to: undefined }, isEnd, isAhead };
    // What is said next stands after the last message, and may stand before what was asked for.
    if (comparePositions(last, after) < 0) return { messages, next: last, missing, isEnd, isAhead: true };
    return { messages, next: last, missing: { from: after, to: last }, isEnd, isAhead };
  }

  async #readPage(after: string, count: number): Promise<RawPage> {
    try {
      const read = await this.#read(after, count);
      this.#page = Math.min(this.#largestPage, this.#page * 2);
      return read;
    } catch (error) {
      if (isMillraceError(error, 'REDIS_TIMEOUT')) this.#page = Math.max(1, Math.floor(this.#page / 2));
      throw error;
    }
  }

  #read(after: string, count: number): Promise<RawPage> {
    return this.#guard.run(() => readAfterScript(this.#connections.commands(), this.#keys, { after, count }));
  }
}

/** The keys of a topic, which share its tag with the channel. */
export function topicKeys(keys: KeySpace, name: string): { ring: string; last: string; channel: string } {
  return { ring: keys(name, 'ring'), last: keys(name, 'last'), channel: keys(name) };
}

/** `before` is the message before the first one that there is; `''` says that Redis knew of none, and so may have lost some. */
function gapBefore(after: Position, before: Position | undefined): Missing | undefined {
  if (before === undefined || after === '')
    return before === '' || before === undefined ? undefined : { from: after, to: before };
  if (before === '') return { from: after, to: undefined };
  return comparePositions(before, after) > 0 ? { from: after, to: before } : undefined;
}

function pairs(fields: readonly string[]): Record<string, string> {
  const object: Record<string, string> = {};
  for (let index = 0; index + 1 < fields.length; index += 2) object[fields[index] ?? ''] = fields[index + 1] ?? '';
  return object;
}
