/** Pub/sub of several processes, as far as Redis can tell, in one test; each has connections of its own. */
import { z } from 'zod';
import type { PubSubOptions } from '../../src/pubsub/options.ts';
import { createPubSub, type PubSub } from '../../src/pubsub/pubsub.ts';
import type { Gap, Subscription, TopicMessage } from '../../src/pubsub/subscription.ts';
import { defineTopic } from '../../src/pubsub/topic.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { ownedByTest } from '../support/owned.ts';

/** The pub/sub of one pretended process. */
export interface OwnedPubSub {
  pubsub: PubSub;
  connections: Connections;
}

/** A function that makes pub/sub which ends with the test. */
export function ownedPubSub(): (redis: RedisOptions, options?: PubSubOptions) => OwnedPubSub {
  const own = ownedByTest();
  return (redis, options) => {
    const connections = own(createConnections(redis));
    const pubsub = own(createPubSub(connections, options));
    return { pubsub, connections };
  };
}

/** Of which who is away misses what is said. */
export const news = defineTopic({ name: 'news.*.line', schema: z.strictObject({ n: z.number() }) });
/** Of which he does not. */
export const ledger = defineTopic({ name: 'ledger.*', schema: z.strictObject({ n: z.number() }), reliable: true });
/** Of which the last few are kept. */
export const shortLedger = defineTopic({
  name: 'short',
  schema: z.strictObject({ n: z.number() }),
  reliable: { keep: 10, age: '1h' },
});

/** What a subscription heard: numbers of messages, and `gap`s in their place. */
export function heardBy(): {
  heard: Array<number | string>;
  gaps: Gap[];
  messages: TopicMessage[];
  handler: (message: TopicMessage<{ n: number }>) => void;
  onGap: (gap: Gap) => void;
} {
  const heard: Array<number | string> = [];
  const gaps: Gap[] = [];
  const messages: TopicMessage[] = [];
  return {
    heard,
    gaps,
    messages,
    handler: (message) => {
      heard.push(message.data.n);
      messages.push(message);
    },
    onGap: (gap) => {
      heard.push(`gap ${gap.reason}`);
      gaps.push(gap);
    },
  };
}

/** 1 to n. */
export const upTo = (n: number): number[] => Array.from({ length: n }, (_, index) => index + 1);

/** Once it is live. */
export async function live(subscription: Subscription): Promise<Subscription> {
  await subscription.ready();
  return subscription;
}
