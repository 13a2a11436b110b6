/**
 * Decides on a token.
 *
 *   read the session --the current token, nothing due--> ok
 *         |------------the current token, something due, or a former one--> present.lua decides by the server's clock
 *         '------------a guess, or nothing there--> refused; a guess extends nothing and ends nothing
 *
 * Most calls are one plain command. What was read tells whether a slide or another token is due by what is known of the server's clock; should that
 * be wrong, the script finds nothing to do. Where Redis refuses writes, whoever has the current token is let in on what was read.
 */
import { isMillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { ServerTime } from '../redis/server-time.ts';
import type { Endings } from './endings.ts';
import { checkValidate, deviceOf, type RealmRule, type ValidateSessionOptions } from './options.ts';
import { packRest, type Kept, type SessionDevice } from './packed.ts';
import type { Reader } from './reader.ts';
import type { Presented } from './scripts.ts';
import type { RealmMeter } from './session-metrics.ts';
import type { RefusedToken, Session, SessionRefusal, SessionValidation } from './session.ts';
import type { Presentation, Store } from './store.ts';
import { bornAt, newPart, numberOf, readToken, type Hashing, type Token } from './tokens.ts';

/** What a call wants of a session. */
export interface Wish {
  readonly wants: Presentation['wants'];
  readonly device?: SessionDevice | undefined;
  readonly toLevel?: string | undefined;
}

/** What a checker works with. */
export interface CheckerParts<Data extends object> {
  readonly realm: string;
  readonly rule: RealmRule;
  readonly store: Store;
  readonly endings: Endings;
  /** Not decided by: scripts read the clock themselves. */
  readonly time: ServerTime;
  /** Asks for it. */
  readonly askTime: () => Promise<void>;
  readonly reader: Reader<Data>;
  readonly meter: RealmMeter;
  readonly log: Logger;
  /** @throws MillraceError CLOSED */
  readonly checkOpen: () => void;
  /** The session has been renewed. */
  readonly onRenewed: (change: 'touched' | 'rotated' | 'elevated', sessionId: string, userId: string) => void;
}

const TOUCH: Wish = { wants: 'touch' };
/** How old the known time of the server may be; less for what is shorter lived. */
const TIME_LASTS_MS = { most: 30_000, least: 1_000 };
/** How far apart two readings of one clock may seem to be. */
const SLACK_MS = 1_000;

/** Checks the tokens of one realm. */
export class Checker<Data extends object> {
  readonly #parts: CheckerParts<Data>;
  readonly #rule: RealmRule;
  readonly #timeLastsMs: number;

  constructor(parts: CheckerParts<Data>) {
    this.#parts = parts;
    this.#rule = parts.rule;
    this.#timeLastsMs = Math.min(TIME_LASTS_MS.most, Math.max(TIME_LASTS_MS.least, parts.rule.touchMs));
  }

  /** About the server's time now. */
  async nowMs(): Promise<number> {
    const { time, askTime } = this.#parts;
    if (time.isOlderThan(this.#timeLastsMs)) await askTime();
    return time.nowMs();
  }

  /**
   * Nobody waits for it. While no answer has told it, everything is taken for due, and the script decides; while the answer is old, what is due by
   * it is off by as much as this machine's clock runs wrong, and the script decides again.
   */
  #keepTime(): void {
    const { time, askTime, log } = this.#parts;
    if (!time.isOlderThan(this.#timeLastsMs)) return;
    askTime().catch((error: unknown) => log.debug({ err: error }, 'the time of the server is not known'));
  }

  /** As check(), counted. Every request of an app waits for it, so promises and closures are few. */
  async validate(text: unknown, options: ValidateSessionOptions | undefined): Promise<SessionValidation<Data>> {
    const { meter, checkOpen, realm, store } = this.#parts;
    checkOpen();
    const wish = options ? wishOf(options, realm) : TOUCH;
    const token = readToken(text);
    let answer: SessionValidation<Data>;
    if (token) {
      try {
        this.#keepTime();
        const decided = this.#decide(token, await store.read(token), wish);
        answer = decided instanceof Promise ? await decided : decided;
      } catch (error) {
        meter.validated('failed');
        throw error;
      }
    } else answer = refused('malformed');
    meter.validated(answer.ok ? 'ok' : answer.reason);
    return answer;
  }

  async check(text: unknown, wish: Wish): Promise<SessionValidation<Data>> {
    const token = readToken(text);
    if (!token) return refused('malformed');
    this.#keepTime();
    return this.#decide(token, await this.#parts.store.read(token), wish);
  }

  /** On what was read; a promise only where Redis must be asked again, or the schema answers with one. */
  #decide(token: Token, value: string | null, wish: Wish): SessionValidation<Data> | Promise<SessionValidation<Data>> {
    const { reader } = this.#parts;
    if (value === null) return refused(this.#whyGone(token));
    const kept = reader.kept(value);
    if (!kept) return refused('unknown');
    const current = this.#rule.hashings.find((hashing) => hashing.isHashOf(kept.hash, token.text));
    if (current && !this.#isDue(kept, wish)) return this.#letIn(token, kept);
    const hashing = current ?? this.#rule.hashings.find((one) => one.isHashOf(kept.family, token.kin));
    if (!hashing) return refused('unknown');
    const presented = this.#present(token, kept, hashing, wish);
    if (!current || wish.wants === 'rotate' || wish.wants === 'elevate') return presented;
    // What is due can wait until Redis takes writes again; it is there to be read, so what has ended is known.
    return presented.catch((error: unknown) => {
      if (!isMillraceError(error, 'REDIS_WRITES_REFUSED')) throw error;
      return this.#letIn(token, kept);
    });
  }

  #letIn({ sessionId }: Token, kept: Kept): SessionValidation<Data> | Promise<SessionValidation<Data>> {
    const session = this.#parts.reader.session(sessionId, kept);
    return session instanceof Promise ? session.then(letIn) : letIn(session);
  }

  /** Whether a script must look at it: to slide it, to replace its token, to note that this one has come, or because it may have run out. */
  #isDue({ seenAt, rotatedAt, createdAt, formerHash, usedAt }: Kept, { wants }: Wish): boolean {
    const { touchMs, rotateMs, idleMs, absoluteMs } = this.#rule;
    const { time } = this.#parts;
    if (wants === 'rotate' || wants === 'elevate') return true;
    if (!time.isKnown || (usedAt === 0 && formerHash !== '')) return true;
    const nowMs = time.nowMs();
    const idleForMs = nowMs - seenAt;
    if (idleForMs >= idleMs || nowMs - createdAt >= absoluteMs) return true; // It began when the rules let it live longer.
    if (wants === 'look') return false;
    return idleForMs >= touchMs || idleForMs < -SLACK_MS || (rotateMs > 0 && nowMs - rotatedAt >= rotateMs);
  }

  async #present(token: Token, kept: Kept, hashing: Hashing, wish: Wish): Promise<SessionValidation<Data>> {
    const { realm, store, endings, onRenewed } = this.#parts;
    const seed = newPart();
    const successor = this.#mayReplace(wish) ? hashing.successorOf(token, seed) : undefined;
    const ending = endings.begin(realm, 'reused', token.tag);
    const presented: Presented = await store.present(
      token,
      {
        presented: hashing.hashOf(token.text),
        kin: hashing.hashOf(token.kin),
        number: numberOf(token),
        wants: wish.wants,
        successor: successor === undefined ? '' : hashing.hashOf(successor),
        seed,
        toLevel: wish.toLevel ?? '',
        rest: this.#changedRest(token.sessionId, kept, wish.device),
        ofVersion: kept.version,
      },
      ending,
    );
    const [outcome, value] = presented;
    switch (outcome) {
      case 'gone':
        return refused(this.#whyGone(token));
      case 'stranger':
        return refused('unknown');
      case 'stale':
        return refused('revoked');
      case 'reused':
        endings.ended(ending, [token.id], this.#userOf(token, value));
        return refused('reused');
      case 'previous':
        return this.#previous(token, hashing, value, wish);
      case 'current':
      case 'rotated':
      case 'elevated': {
        const renewed = this.#parts.reader.kept(value);
        const session = renewed && (await this.#parts.reader.session(token.sessionId, renewed));
        if (!session) return refused('unknown');
        if (outcome !== 'current') onRenewed(outcome, session.id, session.userId);
        else if (session.lastSeenAt !== kept.seenAt) onRenewed('touched', session.id, session.userId);
        const isNew = outcome !== 'current' && successor !== undefined;
        return isNew ? { ok: true, session, token: successor } : { ok: true, session };
      }
    }
  }

  /** The holder of a former token is told its successor; but where that has a higher level, only whoever has proved it now. */
  async #previous(token: Token, hashing: Hashing, value: string, wish: Wish): Promise<SessionValidation<Data>> {
    const kept = this.#parts.reader.kept(value);
    if (!kept) return refused('unknown');
    const isElevated = kept.formerLevel !== '';
    const successor = hashing.successorOf(token, kept.seed);
    // It was replaced meanwhile by a request that knew of no other level: what is proved is proved for the one that took its place.
    if (wish.wants === 'elevate' && !isElevated)
      return this.#present(readToken(successor) as Token, kept, hashing, wish);
    const isLower = isElevated && wish.wants !== 'elevate';
    const session = await this.#parts.reader.session(token.sessionId, kept, isLower ? kept.formerLevel : kept.level);
    if (!session) return refused('unknown');
    return isLower ? { ok: true, session } : { ok: true, session, token: successor };
  }

  #mayReplace({ wants }: Wish): boolean {
    return wants === 'rotate' || wants === 'elevate' || (wants === 'touch' && this.#rule.rotateMs > 0);
  }

  /** Empty where the device is the one that is known. */
  #changedRest(sessionId: string, kept: Kept, device: SessionDevice | undefined): string {
    const before = device && this.#parts.reader.rest(sessionId, kept);
    if (!before || JSON.stringify(before.device) === JSON.stringify(device)) return '';
    const rest = { userId: before.userId, device, json: JSON.stringify(before.data) };
    return packRest(rest, this.#rule.sealer, this.#parts.reader.about(sessionId));
  }

  #userOf({ sessionId }: Token, value: string): string | undefined {
    const kept = this.#parts.reader.kept(value);
    return kept && this.#parts.reader.rest(sessionId, kept)?.userId;
  }

  /** Nothing is kept of what has ended: what this process has heard, and the time in the id, are all that is known. */
  #whyGone({ sessionId, id }: Token): SessionRefusal {
    if (this.#parts.endings.has(sessionId)) return 'revoked';
    const { time } = this.#parts;
    return time.isKnown && time.nowMs() - bornAt(id) >= this.#rule.idleMs ? 'expired' : 'unknown';
  }
}

function wishOf(options: ValidateSessionOptions, realm: string): Wish {
  const { touch = true, device } = checkValidate(options, `realm ${realm}: validate`);
  return { wants: touch ? 'touch' : 'look', device: device && deviceOf(device) };
}

function letIn<Data extends object>(session: Session<Data> | undefined): SessionValidation<Data> {
  return session ? { ok: true, session } : refused('unknown');
}

function refused(reason: SessionRefusal): RefusedToken {
  return { ok: false, reason };
}
