/** A process that serves the topic `once`, and says which requests it handles: `serve-process URL`. */
import { z } from 'zod';
import { createPubSub } from '../../src/pubsub/pubsub.ts';
import { defineTopic } from '../../src/pubsub/topic.ts';
import { createConnections } from '../../src/redis/connect.ts';

const [url = ''] = process.argv.slice(2);
const pubsub = createPubSub(createConnections({ url }));
const once = defineTopic({ name: 'once', schema: z.number() });
const serving = pubsub.serve(once, ({ data }) => {
  console.log(`handled ${data}`);
  return data;
});
await serving.ready();
console.log('ready');
