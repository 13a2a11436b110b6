/**
 * A process with users in a room, to be killed or stopped: `presence-process URL ROOM TTL_MS USERS`, users with commas between them.
 *
 * Says `here` when all are in, then `event TYPE USER` of what it hears; leaves with SIGTERM, and says `stopped`.
 */
import { createPresence } from '../../../src/pubsub/presence/presence.ts';
import { createConnections } from '../../../src/redis/connect.ts';

const [url = '', name = '', ttl = '', users = ''] = process.argv.slice(2);
const connections = createConnections({ url });
const presence = createPresence(connections, { ttl: Number(ttl), debounce: 0, sweep: 200 });
const room = presence.room(name);
for (const type of ['enter', 'update', 'leave'] as const)
  room.on(type, ({ userId }) => console.log(`event ${type} ${userId}`));
await room.ready();
const entered = await Promise.all(users.split(',').map((userId) => room.enter({ userId, state: { of: process.pid } })));
process.once('SIGTERM', () => {
  void presence
    .stop()
    .then(() => connections.close())
    .then(() => console.log('stopped'));
});
console.log(`here ${entered.length}`);
