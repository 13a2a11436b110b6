/** Makes sessions of what Redis keeps. */
import { isMillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { parseWith } from '../payload.ts';
import type { RealmRule } from './options.ts';
import { unpack, unpackRest, type Kept, type Rest } from './packed.ts';
import type { Session } from './session.ts';

/**
 * Reads the sessions of one realm. One that nobody can read (its key is not known here, its data does not match the schema any more) is as good
 * as gone: undefined, and a warning once.
 */
export class Reader<Data extends object> {
  readonly #realm: string;
  readonly #rule: RealmRule;
  readonly #log: Logger;
  #isTold = false;

  constructor(realm: string, rule: RealmRule, log: Logger) {
    this.#realm = realm;
    this.#rule = rule;
    this.#log = log;
  }

  /** What a session's rest is sealed for. */
  about(sessionId: string): string {
    return `${this.#realm}/${sessionId}`;
  }

  kept(value: string): Kept | undefined {
    return this.#try(() => unpack(value));
  }

  rest(sessionId: string, kept: Kept): Rest | undefined {
    return this.#try(() => unpackRest(kept.rest, this.#rule.sealer, this.about(sessionId)));
  }

  /** @param level Where it is not the session's own. */
  session(
    sessionId: string,
    kept: Kept,
    level: string = kept.level,
  ): Promise<Session<Data> | undefined> | Session<Data> | undefined {
    const rest = this.rest(sessionId, kept);
    if (!rest) return undefined;
    const { schema } = this.#rule;
    if (!schema) return this.#made(sessionId, kept, level, rest, rest.data);
    const data = this.#try(() => parseWith(schema, rest.data, 'data of a session'));
    if (!(data instanceof Promise)) return data && this.#made(sessionId, kept, level, rest, data);
    return data.then(
      (parsed) => this.#made(sessionId, kept, level, rest, parsed),
      (error: unknown) => this.#unreadable(error),
    );
  }

  #made(id: string, kept: Kept, level: string, { userId, device }: Rest, data: object): Session<Data> {
    const { levels } = this.#rule;
    const { createdAt, seenAt, version } = kept;
    return {
      id,
      userId,
      level: levels.includes(level) ? level : levels[0], // A level that is no more is worth the least.
      data: data as Data,
      device,
      createdAt,
      lastSeenAt: seenAt,
      idleExpiresAt: this.endOf(kept),
      expiresAt: this.#lastOf(kept),
      version,
    };
  }

  /** When it ends if it is not used, by the rules of now: they may have been others when it began. */
  endOf(kept: Kept): number {
    return Math.min(kept.seenAt + this.#rule.idleMs, this.#lastOf(kept));
  }

  #lastOf({ absoluteAt, createdAt }: Kept): number {
    return Math.min(absoluteAt, createdAt + this.#rule.absoluteMs);
  }

  #try<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      return this.#unreadable(error);
    }
  }

  #unreadable(error: unknown): undefined {
    if (!isMillraceError(error, 'INPUT_INVALID')) throw error;
    const facts = { err: error, realm: this.#realm };
    if (this.#isTold) this.#log.debug(facts, 'a session cannot be read');
    else this.#log.warn(facts, 'a session cannot be read, and counts as gone');
    this.#isTold = true;
  }
}
