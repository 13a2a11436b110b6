/**
 * The keys of streams. All keys of one stream, its groups' too, share its name as tag, so that one script can take them.
 *
 * What holds entries or says what became of them is nowhere else, so it does not expire: the stream is trimmed by what all groups have
 * finished, and the keys of a group hold only what is unfinished, until the group is removed. Members and leaders are leases.
 */
import { createKeySpace, type KeySpace } from '../redis/keys.ts';

/** The keys of one group of a stream. */
export interface GroupKeys {
  /** ZSET  consumer -> when its lease ends, in ms of the server's clock; written by each consumer's tick. */
  readonly members: string;
  /**
   * HASH  lasting name -> the consumer that has it now, written when one joins; `~last` -> the last id that the group was given, by each
   * tick; `~generation` -> when the group was made again, by whoever did it; `~paused CONSUMER` -> 1 while that one takes nothing, by its tick.
   */
  readonly tokens: string;
  /** ZSET  entry id -> when it is due again, in ms; written by whoever failed it, or gave it back. */
  readonly retries: string;
  /** HASH  entry id -> attempts so far, how many of them ended with their process, and 1 if one was begun; of entries that were tried. */
  readonly attempts: string;
  /** STREAM  dead letters, until they are redriven or discarded, or are too many or too old by the contract of those who consume the group. */
  readonly dead: string;
  /** STRING  the consumer that works on an ordered group, for as long as its lease. */
  readonly leader: string;
}

/** The keys of one stream. */
export interface StreamKeys {
  /** STREAM  the entries. */
  readonly entries: string;
  /** STRING  there for as long as nobody else need trim; expires. */
  readonly trimmed: string;
  /** SET  paths of what is secret in the data of entries, in any version of the contract; written by all processes that publish or consume. */
  readonly secrets: string;
  /** STRING  the id of the entry that was published under an idempotency key; expires. */
  sent(key: string): string;
  group(name: string): GroupKeys;
}

/**
 * The key of what is known of all streams.
 *
 * HASH  name -> groups and bounds of its contract as JSON, `events:NAME` for event stores; written by all processes that publish or consume.
 */
export function knownStreamsKey(prefix: string): string {
  return createKeySpace(prefix, 'streams')('~known'); // No stream is called so: their names begin with a letter.
}

/** The keys of the streams under a prefix. */
export function createStreamKeys(prefix: string): (stream: string) => StreamKeys {
  const key = createKeySpace(prefix, 'streams');
  return (stream) => ({
    entries: key(stream, 'entries'),
    trimmed: key(stream, 'trimmed'),
    secrets: key(stream, 'secrets'),
    sent: (name) => key(stream, 'sent', name),
    group: (name) => groupKeys(key, stream, name),
  });
}

function groupKeys(key: KeySpace, stream: string, group: string): GroupKeys {
  const at = (name: string): string => key(stream, 'group', group, name);
  return {
    members: at('members'),
    tokens: at('tokens'),
    retries: at('retries'),
    attempts: at('attempts'),
    dead: at('dead'),
    leader: at('leader'),
  };
}
