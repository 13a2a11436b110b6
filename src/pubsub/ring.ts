/** The ring of a reliable topic: the last messages, as Redis keeps them. */
import type { Connections } from '../redis/connect.ts';
import type { Guard } from '../redis/guard.ts';
import type { KeySpace } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { comparePositions, ofRing, type Envelope, type Position } from './envelope.ts';

const RING_KEYS = ['ring', 'last'] as const;

export const publishScript = defineScript({
  file: 'pubsub/publish.lua',
  keys: [...RING_KEYS, 'channel'],
  args: ['publishVerb', 'topic', 'echo', 'body', 'keep', 'ageMs'],
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
}

/** Reads one ring. */
export class Ring {
  readonly #connections: Pick<Connections, 'commands'>;
  readonly #guard: Guard;
  readonly #keys: { ring: string; last: string };
  readonly #onMalformed: () => void;

  constructor(
    connections: Pick<Connections, 'commands'>,
    guard: Guard,
    keys: { ring: string; last: string },
    onMalformed: () => void,
  ) {
    this.#connections = connections;
    this.#guard = guard;
    this.#keys = keys;
    this.#onMalformed = onMalformed;
  }

  /** The position of the last message; `''` before the first one. */
  async last(): Promise<Position> {
    const { last } = await this.#read('', 0);
    return last;
  }

  /** @param after A position, `''` for what comes after nothing; undefined for whatever is kept, so that nothing can be missing. */
  async after(after: Position | undefined, count: number): Promise<RingPage> {
    const { last, entries } = await this.#read(after ?? '', count);
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
    if (entries.length > 0) return { messages, next, missing, isEnd };
    // Nothing is kept after it: either nothing was said, or what was said is too old, or Redis has lost it all.
    if (after === undefined || last === after) return { messages, next: last, missing, isEnd };
    if (last === '')
      return { messages, next: '', missing: after === '' ? undefined : { from: after, to: undefined }, isEnd };
    const isBehind = comparePositions(last, after) > 0;
    return {
      messages,
      next: isBehind ? last : after,
      missing: isBehind ? { from: after, to: last } : undefined,
      isEnd,
    };
  }

  #read(after: string, count: number): Promise<{ last: string; entries: Array<[string, string[]]> }> {
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
