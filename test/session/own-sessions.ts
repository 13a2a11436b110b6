/** Sessions for the tests of a file, closed after each test; each as another process would have them. */
import { expect } from 'vitest';
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import type { SessionsOptions } from '../../src/session/options.ts';
import type { Session, SessionValidation } from '../../src/session/session.ts';
import { createSessions, type Sessions } from '../../src/session/sessions.ts';
import { ownedByTest } from '../support/owned.ts';

/** A function that makes sessions with connections of their own. */
export function ownedSessions(): (
  redis: RedisOptions,
  options?: SessionsOptions,
) => { sessions: Sessions; connections: Connections } {
  const own = ownedByTest();
  return (redis, options) => {
    const connections = own(createConnections(redis));
    // A busy machine is no outage.
    return { connections, sessions: own(createSessions(connections, { deadline: '10s', ...options })) };
  };
}

/** The session that a token was let in to. */
export function letIn(answer: SessionValidation): { session: Session; token: string | undefined } {
  expect(answer).toMatchObject({ ok: true });
  if (!answer.ok) throw new Error(answer.reason);
  return { session: answer.session, token: answer.token };
}

/** Why a token was refused; `ok` when it was not. */
export function reasonOf(answer: SessionValidation): string {
  return answer.ok ? 'ok' : answer.reason;
}

/** The secret part of a token. */
export function secretOf(token: string): string {
  return token.split('.')[3] ?? '';
}
