/** The channels of the definitions that somebody in this process listens to. */
import { MillraceError } from '../errors.ts';
import type { TopicMeter } from './pubsub-metrics.ts';
import { TopicChannel, type ChannelParts } from './topic-channel.ts';
import type { TopicContract } from './topic.ts';

/** Makes them, and lets go of those that nobody needs. */
export class TopicChannels {
  readonly #meterOf: (topic: string) => TopicMeter;
  readonly #parts: ChannelParts;
  readonly #byName = new Map<string, TopicChannel>();

  constructor(meterOf: (topic: string) => TopicMeter, parts: ChannelParts) {
    this.#meterOf = meterOf;
    this.#parts = parts;
  }

  /** @throws MillraceError OPTIONS_INVALID for a second definition of the same name, which would parse other data. */
  of(contract: TopicContract): TopicChannel {
    const known = this.#byName.get(contract.name);
    if (known?.contract === contract) return known;
    if (known) {
      const message = `topic ${contract.name} is defined twice in this process`;
      throw new MillraceError('OPTIONS_INVALID', message, { topic: contract.name });
    }
    const channel = new TopicChannel(contract, this.#meterOf(contract.name), this.#parts);
    this.#byName.set(contract.name, channel);
    return channel;
  }

  closeUnused(): void {
    for (const [name, channel] of this.#byName) {
      if (!channel.isUnused) continue;
      this.#byName.delete(name);
      channel.close();
    }
  }
}
