/** Sessions as they should be after any history of acts. Every act checks its answer, and end() what is left. */
import { expect } from 'vitest';
import type { Realm } from '../../src/session/realm.ts';

/** The rule of realms: levels, and how many sessions a user may have. */
export const LEVELS = ['low', 'middle', 'high'] as const;
export const MOST = 3;

/** A session, as it should be. */
interface Model {
  readonly id: string;
  readonly userId: string;
  /** All that it ever had, the current one last. */
  readonly tokens: string[];
  /** The level that the token before the current one has, where an elevation has replaced it. */
  formerLevel: number | undefined;
  /** Whether the current token was presented since it has replaced another. */
  isUsed: boolean;
  level: number;
  data: Record<string, number>;
  version: number;
  isAlive: boolean;
}

/** Something that is done to sessions. */
export type Act = Readonly<
  | { act: 'create'; user: number; level: number }
  | { act: 'validate' | 'rotate'; pick: number; back: number }
  | { act: 'elevate'; pick: number; back: number; level: number }
  | { act: 'update'; pick: number; n: number; isOld: boolean }
  | { act: 'revoke'; pick: number }
  | { act: 'revoke-all'; user: number; pick: number | undefined }
> & { readonly process: number };

/** One history, and the sessions as they should be. */
export class History {
  readonly #realms: readonly Realm[];
  readonly #hasGrace: boolean;
  readonly #run: string;
  readonly #models: Model[] = [];

  constructor(realms: readonly Realm[], hasGrace: boolean, run: string) {
    this.#realms = realms;
    this.#hasGrace = hasGrace;
    this.#run = run;
  }

  async run(one: Act): Promise<void> {
    const realm = this.#realms[one.process]!;
    if (one.act === 'create') return this.#create(realm, one.user, one.level);
    if (one.act === 'revoke-all') {
      const except = one.pick === undefined ? undefined : this.#models[one.pick % this.#models.length];
      const mine = this.#alive(one.user).filter((model) => model !== except);
      const options = except ? { except: except.id } : {};
      mustBe(await realm.revokeAll(this.#user(one.user), options), mine.length);
      for (const model of mine) model.isAlive = false;
      return;
    }
    const model = this.#models[one.pick % this.#models.length];
    if (!model) return;
    if (one.act === 'revoke') {
      mustBe(await realm.revoke(model.id), model.isAlive);
      model.isAlive = false;
    } else if (one.act === 'update') await this.#update(realm, model, one.n, one.isOld);
    else await this.#present(realm, model, one);
  }

  /** What is listed is what lives. */
  async end(): Promise<void> {
    for (const number of [0, 1]) {
      const listed = await this.#realms[0]!.list(this.#user(number));
      const told = listed.map(({ id, level: name, data, version }) => ({ id, level: name, data, version }));
      const alive = this.#alive(number).map(({ id, level: at, data, version }) => ({
        id,
        level: LEVELS[at],
        data,
        version,
      }));
      mustBe(told.toSorted(byId), alive.toSorted(byId));
      mustBe(await this.#realms[1]!.count(this.#user(number)), alive.length);
      await this.#realms[0]!.revokeAll(this.#user(number));
    }
  }

  async #create(realm: Realm, number: number, at: number): Promise<void> {
    const before = this.#alive(number);
    const { token, session } = await realm.create(this.#user(number), { level: LEVELS[at] });
    const ids = new Set((await realm.list(this.#user(number))).map(({ id }) => id));
    // Which one makes room hangs on ms; that one does, and only where it must, does not.
    const gone = before.filter(({ id }) => !ids.has(id));
    mustBe(gone.length, Math.max(before.length - MOST + 1, 0));
    for (const model of gone) model.isAlive = false;
    const { id, userId } = session;
    const empty = { tokens: [token], formerLevel: undefined, isUsed: true, data: {}, version: 1, isAlive: true };
    this.#models.push({ id, userId, level: at, ...empty });
  }

  async #update(realm: Realm, model: Model, n: number, isOld: boolean): Promise<void> {
    const ifVersion = isOld ? model.version + 1 : model.version;
    const answer = await realm.update(model.id, { [`k${n % 3}`]: n }, { ifVersion });
    if (!model.isAlive) return mustBe(answer, { ok: false, reason: 'gone' });
    if (isOld) return mustBe(answer, { ok: false, reason: 'version', version: model.version });
    model.data = { ...model.data, [`k${n % 3}`]: n };
    model.version++;
    mustMatch(answer, { ok: true, session: { data: model.data, version: model.version } });
  }

  async #present(realm: Realm, model: Model, one: Act & { act: 'validate' | 'rotate' | 'elevate' }): Promise<void> {
    const last = model.tokens.length - 1;
    const at = Math.max(last - one.back, 0);
    const token = model.tokens[at]!;
    const answer = one.act === 'elevate' ? await realm.elevate(token, LEVELS[one.level]!) : await realm[one.act](token);
    const refused = (...reasons: string[]): void => {
      mustBe(answer.ok, false);
      mustBe(reasons.includes(answer.ok ? 'ok' : answer.reason), true);
    };
    if (!model.isAlive) return refused('unknown', 'revoked');
    const isLetIn = at === last || (at === last - 1 && !model.isUsed);
    if (!isLetIn && !this.#hasGrace) {
      model.isAlive = false;
      return refused('reused');
    }
    if (at < last - 1) return refused('revoked');
    const isFormer = at < last;
    const isLower = isFormer && model.formerLevel !== undefined;
    if (isLower && one.act === 'rotate') return refused('revoked');
    if (!isFormer) model.isUsed = true;
    const next = answer.ok ? answer.token : undefined;
    if (one.act === 'elevate') {
      const before = model.level;
      model.level = Math.max(before, one.level);
      mustMatch(answer, { ok: true, session: { level: LEVELS[model.level] } });
      if (isLower) return mustBe(next, model.tokens[last]);
      model.formerLevel = before;
    } else {
      const level = isLower ? model.formerLevel : model.level;
      mustMatch(answer, { ok: true, session: { id: model.id, level: LEVELS[level!], data: model.data } });
      if (isFormer) return mustBe(next, isLower ? undefined : model.tokens[last]);
      if (one.act === 'validate') return mustBe(next, undefined);
      model.formerLevel = undefined;
    }
    mustBe(model.tokens.includes(next ?? ''), false);
    model.tokens.push(next ?? '');
    model.isUsed = false;
  }

  #alive(number: number): Model[] {
    return this.#models.filter(({ userId, isAlive }) => isAlive && userId === this.#user(number));
  }

  #user(number: number): string {
    return `user ${number} of ${this.#run}`;
  }
}

function byId(left: { id: string }, right: { id: string }): number {
  return left.id < right.id ? -1 : 1;
}

function mustBe(actual: unknown, expected: unknown): void {
  expect(actual).toEqual(expected);
}

function mustMatch(actual: unknown, expected: object): void {
  expect(actual).toMatchObject(expected);
}
