/**
 * Orders that are old are forgotten: their events are erased, and the read model hears of it. A job of the shop's own, by a schedule.
 *
 * It may be killed anywhere: the next run finds what is left. What stays of an order is the count of its day.
 */
import { defineJob, handle, schedule, systemClock, toMs, type Duration, type Handler, type Schedule } from 'millrace';
import { z } from 'zod';
import { model } from './orders.ts';

/** In one run. */
const MOST = 10_000;

const forgetOrders = defineJob({
  name: 'shop.forget-orders',
  queue: 'shop.housekeeping',
  input: z.object({}),
  output: z.object({ looked: z.number(), forgotten: z.number() }),
  unique: { key: () => 'all' },
});

export function forgetHandler(keepFor: Duration): Handler {
  return handle(forgetOrders, async (_input, { log, progress, signal, streams }) => {
    const { store, documents } = model.reader(streams);
    const before = new Date(systemClock.wallMs() - toMs(keepFor)).toISOString();
    const forgotten: string[] = [];
    let [looked, position] = [0, 0];
    for await (const [key, document] of documents.entries()) {
      signal.throwIfAborted();
      progress({ looked: ++looked, forgotten: forgotten.length });
      if (document.kind !== 'order' || document.placedAt >= before) continue;
      const id = key.slice(key.indexOf(':') + 1);
      await store.erase(id);
      const told = await store.append(id, [{ type: 'forgotten', data: {} }]);
      if (told.status !== 'conflict') position = told.position;
      forgotten.push(id);
      if (forgotten.length === MOST) break;
    }
    // Once the read model has heard of it, what told it goes too: a stream of one event takes 4 KB.
    if (await documents.waitFor(position, { signal })) for (const id of forgotten) await store.erase(id);
    log.info({ looked, forgotten: forgotten.length }, 'old orders are forgotten');
    return { looked, forgotten: forgotten.length };
  });
}

export function forgetSchedule(every: Duration): Schedule {
  return schedule(forgetOrders, {}, { every, missed: 'skip' }) as Schedule;
}
