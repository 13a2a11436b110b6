/**
 * A process that uses the event store of accounts, with a clock of its own: `event-store-process URL MODE [STREAM] [NUMBER] [CLOCK_AHEAD_MS]`.
 *
 * - `append`: NUMBER events to STREAM, named STREAM-PID-n; says `appended ID` for each that was answered.
 * - `contend`: NUMBER times, appends behind the version that it has read; says `won` and how often it was overtaken.
 * - `project`: keeps the balances up to date until it is killed.
 * - `catch-up`: brings the balances to position NUMBER; says `done`.
 * - `rebuild`: makes the balances anew.
 * - `subscribe`: handles each event by noting its position in the list STREAM, and says `handled POSITION`.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock, type Clock } from '../../src/clock.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { createEventStore } from '../../src/streams/event-store/event-store.ts';
import { accounts, balances, deposited } from '../streams/event-store/accounts.ts';

const [url = '', mode = '', stream = 'account', number = '1', aheadMs = '0'] = process.argv.slice(2);
const count = Number(number);
const clock: Clock = { ...systemClock, wallMs: () => systemClock.wallMs() + Number(aheadMs) };
const connections = createConnections({ url });
const store = createEventStore(connections, accounts, { clock });

const MODES: Readonly<Record<string, () => Promise<boolean>>> = {
  async append() {
    for (let index = 0; index < count; index++) {
      const id = `${stream}-${process.pid}-${index}`;
      await store.append(stream, [deposited(1, id)]);
      console.log(`appended ${id}`);
    }
    return true;
  },

  async contend() {
    let overtaken = 0;
    for (let won = 0; won < count;) {
      const expected = await store.version(stream);
      const { status } = await store.append(stream, [deposited(), deposited()], { expected });
      if (status === 'appended') won++;
      else overtaken++;
    }
    console.log(`won ${overtaken}`);
    return true;
  },

  async project() {
    await store.run(balances);
    console.log('running');
    return false;
  },

  async 'catch-up'() {
    const projection = store.projection(balances);
    console.log('ready');
    while ((await projection.catchUp()) < count) await delay(1);
    console.log('done');
    return true;
  },

  async rebuild() {
    console.log('ready');
    await store.projection(balances).rebuild();
    return true;
  },

  async subscribe() {
    await store.subscribe({ name: 'noted', lease: '2s' }, async ({ position }) => {
      await connections.commands().rpush(stream, position);
      console.log(`handled ${position}`);
      await delay(1);
    });
    console.log('running');
    return false;
  },
};

const isOver = await MODES[mode]?.();
if (isOver) {
  await store.stop();
  await connections.close();
}
