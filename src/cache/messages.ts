/**
 * What the processes tell each other about the cache, on one channel a platform.
 *
 * A message names what changed and never carries a value: messages of one key may overtake each other, names may not mislead.
 * It is sent by the script that made the change, or after the commands that did, so whoever reads again finds the new state.
 */

/**
 * - `key`: it was stored, set or deleted. Drop it from memory; whoever waits for it looks again.
 * - `failed`: a load ended without a value being kept. Whoever waits looks again; what is in memory stays.
 * - `tag`: every value with this tag is invalid.
 * - `clear`: every value of the namespace is invalid; `name` is empty.
 */
export type MessageKind = 'key' | 'failed' | 'tag' | 'clear';

/** One message, read. */
export interface CacheMessage {
  readonly kind: MessageKind;
  /** The process that made the change. */
  readonly origin: string;
  readonly namespace: string;
  /** The key or the tag, as the caller spelt it. */
  readonly name: string;
}

const KINDS: ReadonlySet<unknown> = new Set<MessageKind>(['key', 'failed', 'tag', 'clear']);

/** The message as it travels. */
export function formatMessage(kind: MessageKind, origin: string, namespace: string, name: string): string {
  return JSON.stringify([kind, origin, namespace, name]);
}

/** The message that a text is; undefined for one that is none, such as that of a later version with another kind. */
export function parseMessage(text: string): CacheMessage | undefined {
  const parts = parseList(text);
  if (!parts) return undefined;
  const [kind, origin, namespace, name] = parts;
  if (!KINDS.has(kind)) return undefined;
  if (typeof origin !== 'string' || typeof namespace !== 'string' || typeof name !== 'string') return undefined;
  return { kind: kind as MessageKind, origin, namespace, name };
}

function parseList(text: string): unknown[] | undefined {
  try {
    const parts: unknown = JSON.parse(text);
    return Array.isArray(parts) ? parts : undefined;
  } catch {
    return undefined; // Anybody may publish on the channel; what is no message is nobody's failure.
  }
}
