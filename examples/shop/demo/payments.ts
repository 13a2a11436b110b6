/** A payment provider: some cards are declined, some calls fail the first time, and for a few it never answers. Which is which, an order's id decides. */
import { createHash } from 'node:crypto';
import { systemClock, unrecoverable } from 'millrace';
import type { Charge } from '../payments.ts';

const HOUR_MS = 3_600_000;

export function createProvider(): Charge {
  const asked = new Set<string>(); // Of the last few: who asks again is served.
  return async ({ id, totalCents }, signal) => {
    const luck = createHash('sha256').update(id).digest().readUInt8(0) / 256;
    if (luck < 0.02) await systemClock.sleep(HOUR_MS, { signal });
    if (luck < 0.05) throw unrecoverable('the card was declined: expired');
    if (luck < 0.08 && totalCents > 50_000) throw unrecoverable('the card was declined: over its limit');
    if (luck < 0.14 && !asked.has(id)) {
      if (asked.size > 1_000) asked.clear();
      asked.add(id);
      throw new Error('the payment provider answered 503');
    }
    await systemClock.sleep(30 + 200 * luck, { signal });
    return `payment-${id.slice(-8)}`;
  };
}
