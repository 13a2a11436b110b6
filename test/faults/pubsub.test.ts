/** A subscriber of a reliable topic that is away for long while others speak: it misses nothing, and hears it in order. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../src/clock.ts';
import { defineTopic } from '../../src/pubsub/topic.ts';
import { heardBy, live, ownedPubSub, upTo } from '../pubsub/own-pubsub.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import { startRedis } from '../support/servers.ts';
import { isLong } from './scene.ts';

const AWAY_MS = isLong ? 30_000 : 2_000;
/** For the connection to be made again, and what was missed to be read. */
const BACK_WITHIN_MS = 20_000;
const own = ownedByTest();
const pubsubOf = ownedPubSub();

/** Keeps more than is said while somebody is away. */
const talk = defineTopic({
  name: 'talk.*',
  schema: z.strictObject({ n: z.number() }),
  reliable: { keep: 100_000, age: '10m' },
});

test.each<[how: string, leave: (proxy: Proxy) => void]>([
  ['is cut, and cannot be made again', (proxy) => (proxy.freeze(), proxy.cut())],
  ['goes silent', (proxy) => proxy.freeze()],
])(
  `a subscriber whose connection %s for ${AWAY_MS / 1_000} s misses nothing`,
  async (_how, leave) => {
    const server = own(await startRedis());
    const proxy = own(await startProxy(server.port));
    const { pubsub: speaker } = pubsubOf({ url: server.url });
    const { pubsub } = pubsubOf({ url: proxy.url });
    const mine = heardBy();
    await live(pubsub.subscribe(talk, mine.handler, { onGap: mine.onGap }));

    let said = 0;
    const speakFor = async (ms: number): Promise<void> => {
      const endMs = systemClock.monotonicMs() + ms;
      while (systemClock.monotonicMs() < endMs) {
        await speaker.publish(talk.at(`a${said % 7}`), { n: ++said });
        await systemClock.sleep(5);
      }
    };
    await speakFor(200);
    leave(proxy);
    await speakFor(AWAY_MS);
    proxy.restore();
    proxy.cut();
    await speakFor(500); // While it comes back.
    await eventually(() => expect(mine.heard).toHaveLength(said), BACK_WITHIN_MS);
    expect(mine.heard).toEqual(upTo(said));
  },
  120_000,
);
