/**
 * Sessions: who has signed in, from which device, and until when.
 *
 * Promise: a token is worth nothing once its session has ended, and no request that was under way brings a session back: whatever writes to a
 * session writes only if it is there. Of a token Redis has hashes only. A session ends when it was not used for `idle`, or is `absolute` old,
 * whichever is first, by the server's clock alone. A token is replaced every `rotateEvery`; one that comes back after its grace ends its
 * session, for whoever has it has a copy. All sessions of a user end at once, in work that does not grow with the sessions of others.
 * Keys: see store.ts; all of one user in one slot, and each expires by itself. The channel `PREFIX:session:ended` tells of ends.
 * Redis down: calls reject within `deadline`; after five failures at once, until Redis is back. Nobody is let in meanwhile.
 */
import { systemClock } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import { silentLogger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import { Guard } from '../redis/guard.ts';
import { createKeySpace, DEFAULT_PREFIX } from '../redis/keys.ts';
import { ServerTime } from '../redis/server-time.ts';
import { Endings } from './endings.ts';
import { Layout } from './layout.ts';
import {
  checkRealm,
  checkRealmName,
  checkSessions,
  isSameRealm,
  type CheckedSessions,
  type RealmOptions,
  type SessionData,
  type SessionsOptions,
} from './options.ts';
import { Realm, type RealmParts } from './realm.ts';
import { MOST_REALMS, SessionsMeter } from './session-metrics.ts';
import { Store } from './store.ts';

/** The connections that sessions use. */
export type SessionsConnections = Pick<Connections, 'commands' | 'subscriber' | 'capabilities' | 'label'>;

const DEFAULT_DEADLINE_MS = 2_000;

/**
 * The sessions of one process.
 *
 * @example
 * const sessions = createSessions(connections, { secret: pepper });
 * const web = sessions.realm('web', { idle: '30m', absolute: '30d' });
 * const { token } = await web.create('ada', { device: { ip, userAgent } });
 * const checked = await web.validate(token);
 * if (checked.ok) await web.revokeAll(checked.session.userId);
 * await sessions.stop();
 * @throws MillraceError OPTIONS_INVALID
 */
export function createSessions(connections: SessionsConnections, options: SessionsOptions = {}): Sessions {
  return new Sessions(connections, options);
}

interface Known {
  readonly realm: Realm;
  readonly given: RealmOptions;
}

/** Realms of one process. */
export class Sessions {
  readonly #options: CheckedSessions;
  readonly #parts: Omit<RealmParts, 'rule' | 'store' | 'meter'>;
  readonly #meter: SessionsMeter;
  readonly #guard: Guard;
  readonly #endings: Endings;
  readonly #storeOf: (realm: string, rule: RealmParts['rule']) => Store;
  readonly #realms = new Map<string, Known>();
  #isStopped = false;

  /** @throws MillraceError OPTIONS_INVALID */
  constructor(connections: SessionsConnections, options: SessionsOptions) {
    const checked = checkSessions(options);
    const { prefix = DEFAULT_PREFIX, clock = systemClock, deadline: deadlineMs = DEFAULT_DEADLINE_MS } = checked;
    const log = (checked.log ?? silentLogger).child({ module: 'sessions' });
    const keys = createKeySpace(prefix, 'session');
    const channel = `${prefix}:session:ended`;
    const guard = new Guard({
      deadlineMs,
      clock,
      label: connections.label,
      onOpen: (failure) => log.warn({ err: failure }, 'sessions cannot be checked: nobody is let in'),
      onClose: () => log.info('sessions can be checked again'),
    });
    const layout = new Layout(connections, guard, checked.layout);
    this.#endings = new Endings(channel, connections, log, {
      onEnded: (ended) => this.#realms.get(ended.realm)?.realm.onEnded(ended),
      onGap: () => this.#realms.forEach(({ realm }) => realm.onGap()),
    });
    const time = new ServerTime(clock);
    const askTime = (): Promise<void> => time.ask(() => guard.run(() => connections.commands().time()));
    this.#options = checked;
    this.#guard = guard;
    this.#meter = new SessionsMeter(checked.metrics);
    this.#storeOf = (realm, rule) => new Store({ realm, rule, connections, guard, keys, layout, channel });
    this.#parts = { log, time, askTime, endings: this.#endings, checkOpen: () => this.#checkOpen() };
  }

  /**
   * The realm of that name: sessions with the same rules, apart from those of other realms. The same one each time; without options, the one that
   * is there, or one with the defaults.
   *
   * @example
   * const admin = sessions.realm('admin', { idle: '10m', absolute: '8h', data: z.object({ theme: z.string().default('light') }) });
   * @throws MillraceError OPTIONS_INVALID, also when the realm is there with other options; CLOSED
   */
  realm<Data extends object = SessionData, Input = Data>(
    name: string,
    options?: RealmOptions<Data, Input>,
  ): Realm<Data, Input> {
    this.#checkOpen();
    const known = this.#realms.get(name);
    if (known) {
      if (options && !isSameRealm(name, known.given, options as unknown as RealmOptions))
        throw new MillraceError('OPTIONS_INVALID', `realm ${name}: is there already with other options`, { name });
      return known.realm as unknown as Realm<Data, Input>;
    }
    checkRealmName(name);
    if (this.#realms.size >= MOST_REALMS)
      throw new MillraceError(
        'OPTIONS_INVALID',
        `realm ${name}: there are ${MOST_REALMS} already; users are no realms`,
        {},
      );
    const rule = checkRealm(name, options ?? {}, this.#options);
    const store = this.#storeOf(name, rule);
    const realm = new Realm<Data, Input>(name, { ...this.#parts, rule, store, meter: this.#meter.of(name) });
    const given = (options ?? {}) as unknown as RealmOptions;
    this.#realms.set(name, { realm: realm as unknown as Realm, given });
    return realm;
  }

  /**
   * Hears no more, and ends what is under way. Sessions stay as they are. Twice is fine.
   *
   * @example
   * await sessions.stop();
   */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#endings.close();
    this.#guard.close();
  }

  #checkOpen(): void {
    if (this.#isStopped) throw new MillraceError('CLOSED', 'sessions have been stopped', {});
  }
}
