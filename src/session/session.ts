/** What a realm answers with. */
import type { SessionData } from './options.ts';
import type { SessionDevice } from './packed.ts';

/** A session. All times are ms since 1970 by the server's clock. */
export interface Session<Data extends object = SessionData> {
  /** Public: it may stand in logs and pages, and lets nobody in. */
  readonly id: string;
  readonly userId: string;
  /** How its user has signed in. */
  readonly level: string;
  readonly data: Data;
  readonly device: SessionDevice;
  readonly createdAt: number;
  /** When a use of it was written down last: behind the real one by up to `touchEvery` of `idle`. */
  readonly lastSeenAt: number;
  /** When it ends if it is not used. */
  readonly idleExpiresAt: number;
  /** When it ends in any case. */
  readonly expiresAt: number;
  /** Of its data; each update() raises it. */
  readonly version: number;
}

/**
 * Why a token is refused: `malformed`, it is none of ours; `unknown`, there is no such session, or it is another one's token, or one that a
 * failover has lost; `expired`, the
 * session is gone and old enough to have run out; `revoked`, this process knows that the session was ended, or the token was replaced in a way that
 * cannot be followed; `reused`, it came back after it had been replaced, and the session was ended for it.
 */
export type SessionRefusal = 'malformed' | 'unknown' | 'expired' | 'revoked' | 'reused';

/** Refused. */
export interface RefusedToken {
  readonly ok: false;
  readonly reason: SessionRefusal;
}

/** What validate() answers. */
export type SessionValidation<Data extends object = SessionData> =
  | {
      readonly ok: true;
      readonly session: Session<Data>;
      /** The token that takes the place of the one that was presented: give it to the client. */
      readonly token?: string;
    }
  | RefusedToken;

/** What rotate() and elevate() answer. */
export type SessionElevation<Data extends object = SessionData> =
  | { readonly ok: true; readonly session: Session<Data>; readonly token: string }
  | RefusedToken;

/** What update() answers. */
export type SessionUpdate<Data extends object = SessionData> =
  | { readonly ok: true; readonly session: Session<Data> }
  /** `gone`: it has ended, or never was. `version`: the data is of this other version by now. */
  | { readonly ok: false; readonly reason: 'gone' | 'version'; readonly version?: number };
