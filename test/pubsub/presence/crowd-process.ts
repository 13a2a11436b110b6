/**
 * A process that lets many users into a room of few places: `crowd-process URL ROOM MOST FIRST COUNT`.
 *
 * Says `ready`; with SIGUSR2 it enters with all at once, and says `in K refused M CODES`. It stays until it is killed.
 */
import { once } from 'node:events';
import { isMillraceError } from '../../../src/errors.ts';
import { createPresence } from '../../../src/pubsub/presence/presence.ts';
import { createConnections } from '../../../src/redis/connect.ts';

const [url = '', name = '', most = '', first = '', count = ''] = process.argv.slice(2);
const presence = createPresence(createConnections({ url }), { ttl: '2s', maxMembers: Number(most) });
const room = presence.room(name);
await room.count();
const told = once(process, 'SIGUSR2');
console.log('ready');
await told;
const outcomes = await Promise.allSettled(
  Array.from({ length: Number(count) }, (_, index) => room.enter({ userId: `user-${Number(first) + index}` })),
);
const codes = outcomes.flatMap((outcome) => {
  if (outcome.status === 'fulfilled') return [];
  return [isMillraceError(outcome.reason) ? outcome.reason.code : String(outcome.reason)];
});
console.log(`in ${outcomes.length - codes.length} refused ${codes.length} ${[...new Set(codes)].join(',')}`);
