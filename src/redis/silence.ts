/**
 * Gives up connections that are silent without being closed: those of a frozen server, or behind a firewall that forgets.
 *
 * Silent is a connection on which nothing at all comes while answers are awaited; behind many others an answer takes its time, and whatever
 * comes says that the connection is well.
 */
import type { Socket } from 'node:net';
import type { Redis } from 'ioredis';

/** Looks at a connection within its deadline. A process that was held up for long takes one look afterwards, and then reads what has come. */
const LOOKS = 8;

/**
 * Watches the connection that a client has now, and ends it with an error once it has been silent for so long.
 *
 * @returns what ends the watch; to be called when the connection has ended.
 */
export function giveUpIfSilent(redis: Redis, deadlineMs: number, reason: string): () => void {
  const { stream, commandQueue } = redis as unknown as { stream: Socket; commandQueue: { length: number } };
  let bytesRead = 0;
  let silentLooks = 0;
  const looks = setInterval(() => {
    const isSilent = commandQueue.length > 0 && stream.bytesRead === bytesRead;
    silentLooks = isSilent ? silentLooks + 1 : 0;
    bytesRead = stream.bytesRead;
    // One more, because the first may have come right after the command.
    if (silentLooks > LOOKS) stream.destroy(new Error(reason));
  }, deadlineMs / LOOKS).unref();
  return () => clearInterval(looks);
}
