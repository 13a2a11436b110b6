/** Who looks after the dead letters of the shop: sends some back, and throws away the oldest, so that days of the demo fill no memory. */
import { systemClock, type Platform } from 'millrace';
import { viewed } from '../rankings.ts';

const EVERY_MS = 20_000;
/** Of each queue. */
const MOST_LETTERS = 200;

/** Looks at all of them now and then, until the signal. */
export async function operate(platform: Platform, queues: readonly string[], signal: AbortSignal): Promise<void> {
  for (;;) {
    await systemClock.sleep(EVERY_MS, { signal }).catch(() => undefined); // The demo ends.
    if (signal.aborted) return;
    await round(platform, queues).catch(() => undefined); // Redis is away: the next round finds what is left.
  }
}

async function round({ deadLetters, streams }: Platform, queues: readonly string[]): Promise<void> {
  for (const queue of queues) {
    const letters = await deadLetters.count({ queue });
    const tooMany = letters - MOST_LETTERS;
    if (tooMany > 0) await deadLetters.discard({ queue }, { limit: tooMany });
    else if (letters > 0 && Math.random() < 0.2)
      await deadLetters.redrive({ queue }, { limit: 1, by: 'the operator of the demo' });
  }
  const ofViews = streams.deadLetters(viewed, 'ranking');
  const tooMany = (await ofViews.count()) - MOST_LETTERS;
  if (tooMany > 0) await ofViews.discard({}, { limit: tooMany });
}
