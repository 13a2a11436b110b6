/** A subscription as an async iterable: the next message is taken when the loop asks for it. */
import { MillraceError } from '../errors.ts';
import type { Handler, Subscription, TopicMessage } from './subscription.ts';

/** Messages, one after the other. It hears from the moment that it is made; what comes before the loop waits in its queue. */
export interface MessageStream<Message> extends AsyncGenerator<Message, void, void> {
  /** Resolves once all that is said from now on is heard. @throws MillraceError CLOSED when it was closed before. */
  ready(): Promise<void>;
  /** Ends the loop. */
  close(): Promise<void>;
}

/** The messages of a subscription. It ends when the subscription is closed, and leaving the loop closes the subscription. */
export function messageStream(subscribe: (handler: Handler) => Subscription): MessageStream<TopicMessage> {
  const hand = new Hand();
  // The handler is at work for as long as the loop is, so what comes meanwhile waits in the queue.
  const subscription = subscribe((message) => hand.offer(message));
  void subscription.closed.then(() => hand.end());
  const messages = readAll(hand, subscription);
  const leave = messages.return.bind(messages);
  return Object.assign(messages, {
    ready: () => subscription.ready(),
    close: () => subscription.close(),
    // A generator that has not begun would end without its `finally`, and one that waits for a message would wait on.
    return: async () => {
      hand.release();
      await subscription.close();
      return leave();
    },
  });
}

/** Where one message lies until it is taken. */
class Hand {
  #message: TopicMessage | undefined;
  #isEnded = false;
  #taken: () => void = () => undefined;
  #wake: () => void = () => undefined;

  offer(message: TopicMessage): Promise<void> {
    if (this.#isEnded) return Promise.resolve();
    this.#message = message;
    this.#wake();
    return new Promise((resolve) => (this.#taken = resolve));
  }

  /** The message, if one comes before the end. */
  async next(): Promise<TopicMessage | undefined> {
    if (!this.#message && !this.#isEnded) await new Promise<void>((resolve) => (this.#wake = resolve));
    const message = this.#message;
    this.#message = undefined;
    return message;
  }

  /** The last message is done with. */
  release(): void {
    this.#taken();
  }

  /** No more come. What nobody has taken by now is at work nowhere, so nobody is to wait for it. */
  end(): void {
    this.#isEnded = true;
    if (this.#message) this.#taken();
    this.#wake();
  }
}

async function* readAll(hand: Hand, subscription: Subscription): AsyncGenerator<TopicMessage, void, void> {
  try {
    for (let message = await hand.next(); message; message = await hand.next()) {
      yield message;
      hand.release();
    }
    if ((await subscription.closed) === 'overflow') {
      throw new MillraceError('SUBSCRIPTION_OVERFLOWED', 'the queue of a stream was full, so it was closed', {});
    }
  } finally {
    hand.release();
    await subscription.close();
  }
}
