/**
 * Live notifications: what concerns a user is on the screen at once, and what was said while the user was away is not lost.
 *
 *   node --conditions=millrace-source --import tsx examples/live-notifications.ts      in a checkout
 */
import { createPlatform, defineTopic, readEnv } from 'millrace';
import { z } from 'zod';

const notifications = defineTopic({
  name: 'users.*.notifications',
  schema: z.object({ text: z.string() }),
  reliable: { keep: 1_000, age: '1h' },
});
const unread = defineTopic({ name: 'users.*.unread', schema: z.object({}), reply: z.object({ count: z.number() }) });

const platform = createPlatform({ ...readEnv().platform, log: { level: 'error' } });
await platform.start();
try {
  const { pubsub } = platform;

  // A tab of ada's browser: an HTTP handler would write each message to its response, as a server-sent event with the position as its id.
  const shown: string[] = [];
  let position: string | undefined;
  const tab = pubsub.subscribe(notifications.at('ada'), (message) => {
    shown.push(message.data.text);
    position = message.position;
  });
  await tab.ready();
  await pubsub.publish(notifications.at('ada'), { text: 'your order has been paid' });
  await pubsub.publish(notifications.at('bob'), { text: 'this is not for ada' });
  while (shown.length < 1) await new Promise((resolve) => setTimeout(resolve, 5));
  await tab.close();
  console.log('shown', shown);

  // The tab is asleep. When it is back it says with Last-Event-ID where it was, to whichever process it meets.
  await pubsub.publish(notifications.at('ada'), { text: 'your order has been shipped' });
  await pubsub.publish(notifications.at('ada'), { text: 'your order has arrived' });
  const missed = pubsub.stream(notifications.at('ada'), {
    from: position ?? 'now',
    onGap: () => console.log('too much was missed: load the list again'),
  });
  const later: string[] = [];
  for await (const { data } of missed) if (later.push(data.text) === 2) break;
  console.log('missed', later);

  // Another part of the system asks, and one of those who serve answers.
  const serving = pubsub.serve(unread, ({ values: [user] }) => ({ count: user === 'ada' ? 2 : 0 }));
  await serving.ready();
  console.log('unread', await pubsub.request(unread.at('ada'), {}, { timeout: '2s' }));
} finally {
  await platform.stop();
}
