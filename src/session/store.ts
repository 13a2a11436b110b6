/**
 * The sessions of one realm in Redis.
 *
 * Keys, all of one user in one slot; each goes with the last session that is in it:
 *   PREFIX:session:{USERTAG}:REALM          HASH    id -> session, in the layout `fields`; a field lives as long as its session
 *   PREFIX:session:{USERTAG}:REALM:ids      ZSET    ids by the end of their TTL, in the layout `keys`
 *   PREFIX:session:{USERTAG}:REALM:ids:ID   STRING  the session, with its TTL
 */
import type { Connections } from '../redis/connect.ts';
import { isMillraceError, type MillraceError } from '../errors.ts';
import type { Guard } from '../redis/guard.ts';
import type { KeySpace } from '../redis/keys.ts';
import type { Layout } from './layout.ts';
import type { Ending } from './endings.ts';
import type { RealmRule } from './options.ts';
import {
  createScript,
  listScript,
  presentScript,
  revokeAllScript,
  revokeScript,
  updateScript,
  type Begun,
  type Presented,
} from './scripts.ts';

/** What a store works with. */
export interface StoreParts {
  readonly realm: string;
  readonly rule: RealmRule;
  readonly connections: Pick<Connections, 'commands'>;
  readonly guard: Guard;
  readonly keys: KeySpace;
  readonly layout: Layout;
  readonly channel: string;
}

/** Where a session is. */
export interface Place {
  readonly tag: string;
  readonly id: string;
}

/** A session that begins. */
export interface Beginning {
  readonly hash: string;
  readonly family: string;
  readonly level: string;
  readonly rest: string;
  /** The id of the session that it takes the place of; empty for none. */
  readonly replaced: string;
}

/** A token that is presented. */
export interface Presentation {
  readonly presented: string;
  readonly kin: string;
  readonly number: number;
  readonly wants: 'look' | 'touch' | 'rotate' | 'elevate';
  readonly successor: string;
  readonly seed: string;
  readonly toLevel: string;
  /** With another device; empty for none. */
  readonly rest: string;
  readonly ofVersion: number;
}

type Client = ReturnType<Connections['commands']>;

/** Where the sessions of a user are: in the layout `fields` all of them are in their home. */
interface Home {
  readonly home: string;
  readonly own: (id: string) => string;
  readonly layout: 'fields' | 'keys';
}

/** Realms have no such name: theirs are shorter. */
const ANY_TAG = '-'.repeat(65);

/** The acts on sessions of one realm. */
export class Store {
  readonly #parts: StoreParts;
  /** What stands before and after the tag: a key is built with each request, and a tag has nothing to encode. */
  readonly #around: Readonly<Record<'fields' | 'keys', readonly [before: string, after: string]>>;

  constructor(parts: StoreParts) {
    const { keys, realm } = parts;
    this.#parts = parts;
    this.#around = { fields: around(keys(ANY_TAG, realm)), keys: around(keys(ANY_TAG, realm, 'ids')) };
  }

  /** The session as it is kept, in one command: what has expired by the server's clock is not there. */
  read(place: Place): Promise<string | null> {
    const { known } = this.#parts.layout;
    return known ? this.#read(known, place) : this.#parts.layout.choose().then((layout) => this.#read(layout, place));
  }

  async create(
    { tag, id }: Place,
    beginning: Beginning,
    ending: Ending,
    farewell: Ending,
  ): Promise<Begun & { readonly isBegun: true }> {
    const { idleMs, absoluteMs, maxPerUser } = this.#parts.rule;
    const own = { ...beginning, id, farewell: farewell.message, ...this.#told(ending) };
    const args = { ...own, idleMs, absoluteMs, most: maxPerUser };
    for (let ids = beginning.replaced === '' ? [] : [beginning.replaced]; ;) {
      const begun = await this.#run(tag, (client, at) => {
        const keys = { home: at.home, own: at.own(id), owns: ids.map(at.own) };
        return createScript(client, keys, { ...args, layout: at.layout, ids });
      });
      if (begun.isBegun) return begun;
      ids = beginning.replaced === '' ? begun.ids : [...new Set([...begun.ids, beginning.replaced])];
    }
  }

  present({ tag, id }: Place, presentation: Presentation, ending: Ending): Promise<Presented> {
    const { idleMs, absoluteMs, touchMs, rotateMs, graceMs, levels } = this.#parts.rule;
    const atLeast = ` ${levels.slice(Math.max(levels.indexOf(presentation.toLevel), 0)).join(' ')} `;
    const args = {
      ...presentation,
      id,
      atLeast,
      idleMs,
      absoluteMs,
      touchMs,
      rotateMs,
      graceMs,
      ...this.#told(ending),
    };
    return this.#run(tag, (client, { home, own, layout }) =>
      presentScript(client, { home, own: own(id) }, { ...args, layout }),
    );
  }

  update({ tag, id }: Place, ofVersion: number, rest: string): ReturnType<typeof updateScript> {
    const { idleMs, absoluteMs } = this.#parts.rule;
    const args = { id, ofVersion, rest, idleMs, absoluteMs };
    return this.#run(tag, (client, { home, own, layout }) =>
      updateScript(client, { home, own: own(id) }, { ...args, layout }),
    );
  }

  revoke({ tag, id }: Place, ending: Ending): Promise<boolean> {
    const args = { id, ...this.#told(ending) };
    return this.#run(tag, (client, { home, own, layout }) =>
      revokeScript(client, { home, own: own(id) }, { ...args, layout }),
    );
  }

  /**
   * Ends sessions of a user.
   *
   * @param except An id that stays; empty for none.
   * @param left Those that are left, where it was called before.
   * @returns the ids of those that were ended, and of those that began meanwhile
   */
  revokeAll(
    tag: string,
    except: string,
    ending: Ending,
    left?: readonly string[],
  ): Promise<{ ended: string[]; left: string[] }> {
    const args = { except, ...this.#told(ending) };
    return this.#run(tag, async (client, at) => {
      const ids = left ?? (await idsAt(client, at));
      return revokeAllScript(client, { home: at.home, owns: ids.map(at.own) }, { ...args, layout: at.layout, ids });
    });
  }

  /** All sessions of a user, by their ids, and what the server's time was. */
  async list(tag: string): Promise<{ nowMs: number; sessions: Array<{ id: string; value: string }> }> {
    const { nowMs, flat } = await this.#run(tag, async (client, at) => {
      const ids = await idsAt(client, at);
      return listScript(client, { home: at.home, owns: ids.map(at.own) }, { layout: at.layout, ids });
    });
    const sessions: Array<{ id: string; value: string }> = [];
    for (let at = 0; at + 1 < flat.length; at += 2)
      sessions.push({ id: flat[at] as string, value: flat[at + 1] as string });
    return { nowMs, sessions };
  }

  #read(layout: 'fields' | 'keys', { tag, id }: Place): Promise<string | null> {
    const home = this.#homeOf(layout, tag);
    const { guard, connections } = this.#parts;
    return guard.run(() => {
      const client = connections.commands();
      return layout === 'fields' ? client.hget(home, id) : client.get(`${home}:${id}`);
    });
  }

  /** A server that refuses writes is there to be read: it must not count as one that is away. */
  async #run<T>(tag: string, call: (client: Client, at: Home) => Promise<T>): Promise<T> {
    const { guard, connections, layout } = this.#parts;
    const chosen = layout.known ?? (await layout.choose());
    const home = this.#homeOf(chosen, tag);
    const own = chosen === 'fields' ? () => home : (id: string) => `${home}:${id}`;
    let refusal: MillraceError | undefined;
    const answer = await guard.run(() =>
      call(connections.commands(), { home, own, layout: chosen }).catch((error: unknown) => {
        if (!isMillraceError(error, 'REDIS_WRITES_REFUSED')) throw error;
        refusal = error;
        return undefined;
      }),
    );
    if (refusal) throw refusal;
    return answer as T;
  }

  #homeOf(layout: 'fields' | 'keys', tag: string): string {
    const [before, after] = this.#around[layout];
    return before + tag + after;
  }

  #told({ message }: Ending): { channel: string; message: string } {
    return { channel: this.#parts.channel, message };
  }
}

/** Whose keys a script must be given; none where all are in one. */
async function idsAt(client: Client, { home, layout }: Home): Promise<string[]> {
  return layout === 'fields' ? [] : client.zrange(home, '0', '-1');
}

function around(key: string): readonly [string, string] {
  const at = key.lastIndexOf(ANY_TAG);
  return [key.slice(0, at), key.slice(at + ANY_TAG.length)];
}
