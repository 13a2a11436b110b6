/**
 * Who is in a document: two servers, people with several tabs, a reload that nobody sees, and a server that goes.
 *
 *   node --conditions=millrace-source --import tsx examples/who-is-here.ts      in a checkout
 */
import { createPlatform, readEnv } from 'millrace';
import { z } from 'zod';

const cursor = z.object({ line: z.number() });
const settings = {
  ...readEnv().platform,
  log: { level: 'error' as const },
  presence: { debounce: '200ms' as const, sweep: '50ms' as const },
};
const [one, two] = [createPlatform(settings), createPlatform(settings)];
await one.start();
await two.start();

/** Waits for what the other server is told in a moment. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((next) => setTimeout(next, 5));
}

try {
  // Each server keeps the list of who is here, for the browsers that are connected to it.
  const document = two.presence.room('examples.doc:7', { schema: cursor });
  const told: string[] = [];
  document.on('enter', ({ userId }) => void told.push(`${userId} is here`));
  document.on('update', ({ userId, state }) => void told.push(`${userId} is at line ${state.line}`));
  document.on('leave', ({ userId }) => void told.push(`${userId} is gone`));
  await document.ready();

  // Ada opens the document in two tabs, Bob in one; all three are connected to the first server.
  const room = one.presence.room('examples.doc:7', { schema: cursor });
  const ada = await room.enter({ userId: 'ada', connectionId: 'socket-1', state: { line: 1 } });
  const adasTab = await room.enter({ userId: 'ada', connectionId: 'socket-2', state: { line: 1 } });
  const bob = await room.enter({ userId: 'bob', connectionId: 'socket-3', state: { line: 40 } });
  await bob.update({ line: 41 });
  await until(() => told.includes('bob is at line 41'));
  console.log('how many', await document.count());
  console.log(
    'seen by the other server',
    document.view()?.members.length,
    'of',
    (await document.members()).members.length,
  );
  console.log('where is ada', (await two.presence.whereIs('ada')).rooms);

  // Ada closes a tab and reloads the other one: nobody is told that she has left.
  await adasTab.leave();
  await ada.leave();
  await room.enter({ userId: 'ada', connectionId: 'socket-4' });
  await new Promise((next) => setTimeout(next, 400));
  console.log('ada has left', told.includes('ada is gone'));

  // The first server is stopped, as by a deployment: its users have left once the debounce is over.
  await one.stop();
  await until(() => told.includes('ada is gone') && told.includes('bob is gone'));
  console.log(
    'told',
    told.filter((line) => !line.startsWith('ada is at')),
  );
  console.log('now', await document.count());
} finally {
  await two.stop();
  await one.stop();
}
