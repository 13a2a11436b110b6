/** A payment provider: some cards are declined, some calls fail the first time, and for a few it never answers. Which is which, an order's id decides. */
import { createHash } from 'node:crypto';
import { systemClock, unrecoverable } from 'millrace';
import type { PaymentProvider } from '../payments.ts';

const HOUR_MS = 3_600_000;
const BUSY = 0.14;

export function createProvider(): PaymentProvider {
  const asked = new Set<string>(); // Of the last few: who asks again is served.
  const answer = async (what: string, luck: number, signal: AbortSignal): Promise<void> => {
    if (luck < BUSY && !asked.has(what)) {
      if (asked.size > 1_000) asked.clear();
      asked.add(what);
      throw new Error('the payment provider answered 503');
    }
    await systemClock.sleep(30 + 200 * luck, { signal });
  };
  return {
    async charge({ id, totalCents }, signal) {
      const luck = luckOf(id);
      if (luck < 0.02) await systemClock.sleep(HOUR_MS, { signal });
      if (luck < 0.05) throw unrecoverable('the card was declined: expired');
      if (luck < 0.08 && totalCents > 50_000) throw unrecoverable('the card was declined: over its limit');
      await answer(id, luck, signal);
      return `payment-${id.slice(-8)}`;
    },
    async refund(payment, signal) {
      await answer(payment, luckOf(payment), signal);
      return `refund-of-${payment}`;
    },
  };
}

/** 0 to 1. */
function luckOf(text: string): number {
  return createHash('sha256').update(text).digest().readUInt8(0) / 256;
}
