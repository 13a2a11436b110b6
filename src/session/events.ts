/** What happens to the sessions of a realm, told to the app. */
import type { Logger } from '../log.ts';

/** Something that happened to a session. It never has a token. */
export interface SessionEvent {
  readonly type: 'created' | 'rotated' | 'elevated' | 'revoked' | 'reused' | 'evicted';
  readonly realm: string;
  readonly sessionId: string;
  /** Where it is known: another process tells of the session alone. */
  readonly userId?: string | undefined;
  /** Whether this process has done it. */
  readonly isLocal: boolean;
}

/** What a realm tells. */
export interface SessionEvents {
  /** These three of this process only. */
  created: SessionEvent;
  rotated: SessionEvent;
  elevated: SessionEvent;
  /** Ended by revoke() or revokeAll(), in any process; as the two below. */
  revoked: SessionEvent;
  /** Ended, because a token came back that had been replaced: somebody has a copy of it. */
  reused: SessionEvent;
  /** Ended, because its user has signed in too often. */
  evicted: SessionEvent;
  /** The connection was lost and is back: ends may have been missed, so what is kept of sessions must be validated again. */
  gap: { readonly type: 'gap'; readonly realm: string };
}

/** Who listens. */
export type SessionListener<Event> = (event: Event) => void | Promise<void>;

/** The listeners of a realm. */
export class Listeners {
  readonly #log: Logger;
  readonly #byType = new Map<keyof SessionEvents, Set<SessionListener<never>>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** @returns what ends it. */
  add<Type extends keyof SessionEvents>(type: Type, listener: SessionListener<SessionEvents[Type]>): () => void {
    const listeners = this.#byType.get(type) ?? new Set();
    const own: SessionListener<never> = (event) => listener(event);
    this.#byType.set(type, listeners.add(own));
    return () => void listeners.delete(own);
  }

  tell<Type extends keyof SessionEvents>(type: Type, event: SessionEvents[Type]): void {
    for (const listener of this.#byType.get(type) ?? []) {
      try {
        const answer = listener(event as never);
        if (answer instanceof Promise) answer.catch((error: unknown) => this.#failed(type, error));
      } catch (error) {
        this.#failed(type, error);
      }
    }
  }

  /** What listens is the app's: it must not keep others from hearing, nor fail what it is told of. */
  #failed(type: keyof SessionEvents, error: unknown): void {
    this.#log.error({ err: error, event: type }, 'a listener of sessions failed');
  }
}
