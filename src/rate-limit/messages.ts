/** What processes tell each other on the channel of rate limits: that a key may have room again, or that policies have changed. */

/** A message, taken apart. */
export type LimitMessage = { readonly limiter: string; readonly key: string | undefined };

/** There may be room for the key again. */
export function keyMessage(limiter: string, key: string): string {
  return `${limiter}/${key}`;
}

/** The policies of the limiter have changed. A limiter's name has no slash. */
export function policiesMessage(limiter: string): string {
  return limiter;
}

/** What a message says. */
export function readMessage(text: string): LimitMessage {
  const slash = text.indexOf('/');
  if (slash === -1) return { limiter: text, key: undefined };
  return { limiter: text.slice(0, slash), key: text.slice(slash + 1) };
}
