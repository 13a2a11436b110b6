/**
 * The ends of sessions, told to all processes on one channel:
 *
 *   REALM CAUSE CALL USERTAG ID ID ...      the script that ends sessions says so itself
 *
 * The process that has asked for it learns it twice, by the answer and by the message, in any order, or once where the answer was lost or
 * nobody listens: CALL makes it one event. What was ended lately is remembered, so that whoever comes back with its token can be told why.
 * Anybody who may publish can say anything: what has not this form is refused.
 */
import { randomBytes } from 'node:crypto';
import type { Logger } from '../log.ts';
import { Broadcast } from '../redis/broadcast.ts';
import type { Connections } from '../redis/connect.ts';

const CAUSES = ['revoked', 'reused', 'evicted'] as const;
/** Why a session has ended before its time. */
export type EndCause = (typeof CAUSES)[number];

/** An end that is asked for. */
export interface Ending {
  readonly call: string;
  /** What the script says, before the ids. */
  readonly message: string;
}

/** Sessions of one user that have ended. */
export interface Ended {
  readonly realm: string;
  readonly cause: EndCause;
  readonly sessionIds: readonly string[];
  readonly userId?: string | undefined;
  /** Whether this process has ended them. */
  readonly isLocal: boolean;
}

/** Who hears of it. */
export interface EndingsListener {
  onEnded(ended: Ended): void;
  /** Something may have been missed. */
  onGap(): void;
}

/** How many are remembered, of sessions and of calls. */
const REMEMBERED = 10_000;
const FORM = /^([\w.-]{1,64}) (revoked|reused|evicted) ([\w-]{1,64}) ([\w-]{22})((?: [\w-]{22})+)$/;

/** What one process knows of ends. */
export class Endings {
  readonly #origin = randomBytes(9).toString('base64url');
  readonly #listener: EndingsListener;
  readonly #broadcast: Broadcast;
  readonly #ended = new Set<string>();
  readonly #halfTold = new Set<string>();
  #count = 0;
  #isOpen = false;
  #wasLive = false;

  constructor(channel: string, connections: Pick<Connections, 'subscriber'>, log: Logger, listener: EndingsListener) {
    this.#listener = listener;
    this.#broadcast = new Broadcast(channel, connections, log, {
      onMessage: (text) => this.#onMessage(text),
      onLive: () => this.#onLive(),
    });
  }

  /** Hears other processes from now on; resolves once it does. */
  open(): Promise<void> {
    this.#isOpen = true;
    return this.#broadcast.open();
  }

  close(): void {
    this.#broadcast.close();
  }

  /** For a call that may end sessions of a user. */
  begin(realm: string, cause: EndCause, tag: string): Ending {
    const call = `${this.#origin}-${(this.#count++).toString(36)}`;
    return { call, message: `${realm} ${cause} ${call} ${tag}` };
  }

  /** The call's answer: these have ended. */
  ended({ call, message }: Ending, ids: readonly string[], userId?: string): void {
    if (ids.length === 0) return;
    const [realm = '', cause, , tag] = message.split(' ');
    this.#tell(call, {
      realm,
      cause: cause as EndCause,
      sessionIds: ids.map((id) => `${tag}.${id}`),
      userId,
      isLocal: true,
    });
  }

  /** Whether the session is known to have been ended, as far as this process has heard. */
  has(sessionId: string): boolean {
    return this.#ended.has(sessionId);
  }

  #onMessage(text: string): void {
    const [, realm = '', cause, call = '', tag, ids = ''] = FORM.exec(text) ?? [];
    if (cause === undefined) return;
    const sessionIds = ids
      .slice(1)
      .split(' ')
      .map((id) => `${tag}.${id}`);
    this.#tell(call, { realm, cause: cause as EndCause, sessionIds, isLocal: call.startsWith(`${this.#origin}-`) });
  }

  #tell(call: string, ended: Ended): void {
    if (ended.isLocal && this.#isOpen) {
      if (this.#halfTold.delete(call)) return;
      remember(this.#halfTold, call);
    }
    for (const sessionId of ended.sessionIds) remember(this.#ended, sessionId);
    this.#listener.onEnded(ended);
  }

  #onLive(): void {
    if (this.#wasLive) this.#listener.onGap();
    this.#wasLive = true;
  }
}

/** The oldest makes room. */
function remember(all: Set<string>, one: string): void {
  all.add(one);
  if (all.size <= REMEMBERED) return;
  for (const oldest of all) {
    all.delete(oldest);
    return;
  }
}
