/**
 * How often one may try to sign in: by address, against one who tries many names, and by name, against many who try one. A link has no name, and
 * its token cannot be guessed: a limit that all links share would lock them out for all.
 *
 * Each attempt takes from both limits before the password is looked at. A success gives back what it took itself and no more, so that nobody
 * clears his address with an account of his own. While Redis is down nobody signs in.
 */
import { addressKey, userKey } from 'millrace/http';
import type { ConsumeResult, Platform } from 'millrace';

/** What an attempt took. */
export interface Attempt {
  /** When one may try again; undefined when the attempt may be made. */
  readonly retryAfterMs: number | undefined;
  /** Whether it is Redis that does not answer. */
  readonly isOutage: boolean;
  /** Gives it back, after a success. */
  succeeded(): Promise<void>;
}

/** Somebody who signs in rather waits for a busy Redis than is sent away. */
const DEADLINE = '2s';

/** The limits of signing in, the same for all dashboards of a platform. */
export function createThrottle({ limits }: Platform): (address: string, name?: string) => Promise<Attempt> {
  const byAddress = limits.limiter('dashboard-address', {
    policies: [{ name: 'address', limit: 10, per: '5m', countDenied: true }],
    onError: 'deny',
    deadline: DEADLINE,
  });
  // More than an address has, so that one who guesses does not lock the name for its owner.
  const byName = limits.limiter('dashboard-name', {
    policies: [{ name: 'name', limit: 30, per: '15m' }],
    onError: 'deny',
    deadline: DEADLINE,
  });
  return async (address, name) => {
    const from = addressKey(address);
    const of = name === undefined ? undefined : userKey(name.normalize('NFKC').toLowerCase());
    const first = await byAddress.consume(from);
    if (!first.allowed) return refused(first);
    const second = of === undefined ? first : await byName.consume(of);
    if (!second.allowed) return refused(second);
    return {
      retryAfterMs: undefined,
      isOutage: false,
      async succeeded() {
        await Promise.all([byAddress.refund(from), of !== undefined && byName.refund(of)]);
      },
    };
  };
}

function refused({ retryAfterMs, source }: ConsumeResult): Attempt {
  return { retryAfterMs, isOutage: source === 'outage', succeeded: async () => undefined };
}
