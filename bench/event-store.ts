/**
 * What an append to the event store costs beside the bare client's XADD, which keeps no version, no position and no list of all events: the
 * difference is what these promises cost.
 */
import { z } from 'zod';
import type * as ConnectModule from '../src/redis/connect.ts';
import type * as ContractModule from '../src/streams/event-store/contract.ts';
import type * as StoreModule from '../src/streams/event-store/event-store.ts';
import { clientOn } from './support/clients.ts';
import { importCompiled } from './support/compiled.ts';
import { callsPerSecond, type Case } from './support/measure.ts';
import { benchBinary, pinned, startBenchServer } from './support/server.ts';

const STREAMS = 1_000;
const IN_FLIGHT = 100;
/** Of 200 bytes as JSON. */
const DATA = { customer: 'c-1024', items: ['lamp', 'shade', 'bulb'], totalCents: 12_345, note: 'x'.repeat(110) };
const { createConnections } = await importCompiled<typeof ConnectModule>('redis/connect.ts');
const { defineEvents } = await importCompiled<typeof ContractModule>('streams/event-store/contract.ts');
const { createEventStore } = await importCompiled<typeof StoreModule>('streams/event-store/event-store.ts');
const events = defineEvents({
  name: 'bench',
  events: {
    placed: z.object({ customer: z.string(), items: z.array(z.string()), totalCents: z.number(), note: z.string() }),
  },
});

/** The cases, and what must be closed after them. */
export async function prepare(): Promise<{ cases: Case[]; close: () => Promise<void> }> {
  const server = await startBenchServer(pinned(await benchBinary()));
  const connections = createConnections({ url: server.url });
  const store = createEventStore(connections, events);
  const raw = clientOn(server.url);
  const json = JSON.stringify(DATA);
  let next = 0;
  const append = (): Promise<unknown> =>
    store.append(`order-${next++ % STREAMS}`, [{ type: 'placed', data: DATA }], { expected: 'any' });
  const xadd = (): Promise<unknown> => raw.xadd(`order-${next++ % STREAMS}`, '*', 'type', 'placed', 'data', json);
  const rounds = { quick: 11, full: 51 };
  return {
    cases: [
      {
        name: 'append',
        unit: 'events/s',
        theirsIs: `XADD of the bare client, ${IN_FLIGHT} in flight`,
        rounds,
        ours: () => callsPerSecond(3_000, IN_FLIGHT, append),
        theirs: () => callsPerSecond(3_000, IN_FLIGHT, xadd),
      },
      {
        name: 'append-awaited',
        unit: 'events/s',
        theirsIs: 'XADD of the bare client, awaited one by one',
        rounds,
        ours: () => callsPerSecond(500, 1, append),
        theirs: () => callsPerSecond(500, 1, xadd),
      },
    ],
    async close() {
      raw.disconnect();
      await store.stop();
      await connections.close();
      await server.stop();
    },
  };
}
