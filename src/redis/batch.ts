/**
 * Commands and scripts that travel together and are answered one by one.
 *
 * One write for all of them on a single server; on a Cluster each goes to its own node, without waiting for another.
 * A script that the server had forgotten is sent again with its text after the others, so calls of one script keep
 * their order, while calls of different scripts need not: what must be atomic or ordered belongs into one script.
 */
import type { ChainableCommander, Redis } from 'ioredis';
import { MillraceError } from '../errors.ts';
import { explainRedisError } from './explain.ts';
import {
  clientLabel,
  explainScriptError,
  isNoScript,
  withSource,
  type PreparedCall,
  type Script,
  type ScriptClient,
  type ScriptValue,
} from './script.ts';

interface Entry {
  /** How the entry is put on a pipeline, or sent alone when there is none. */
  call: PreparedCall<unknown> | { command: string; args: ScriptValue[] };
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

/** A batch that is being filled. */
export interface Batch {
  /** Adds a script's call; the promise settles after send(). */
  run<Keys extends readonly string[], Args extends readonly string[], Reply>(
    script: Script<Keys, Args, Reply>,
    keys: Parameters<Script<Keys, Args, Reply>>[1],
    args: Parameters<Script<Keys, Args, Reply>>[2],
  ): Promise<Reply>;
  /** Adds a plain command; the promise settles after send(). */
  command(name: string, ...args: ScriptValue[]): Promise<unknown>;
  /** Sends all. Resolves when every answer is there; each failure rejects its own promise only. */
  send(): Promise<void>;
}

/**
 * A batch for a client.
 *
 * @example
 * const batch = createBatch(redis);
 * const results = users.map((user) => batch.run(takeTokens, { bucket: keys(user) }, { capacity: 10, refillPerSecond: 2, cost: 1 }));
 * await batch.send();
 * const granted = await Promise.all(results);
 */
export function createBatch(client: ScriptClient): Batch {
  let entries: Entry[] = [];
  let isSent = false;

  // A call that cannot be laid out rejects its own promise too, so that the others of a batch that is being filled still go.
  const add = (prepare: () => Entry['call']): Promise<unknown> => {
    const answer = new Promise<unknown>((resolve, reject) => {
      if (isSent) throw new MillraceError('CLOSED', 'the batch has been sent; create a new one', {});
      entries.push({ call: prepare(), resolve, reject });
    });
    // Whoever awaits the answer meets its failure; one that nobody awaits must not end the process.
    answer.catch(() => undefined);
    return answer;
  };

  return {
    run: (script, keys, args) => add(() => script.prepare(keys, args)) as Promise<never>,
    command: (command, ...args) => add(() => ({ command, args })),
    async send() {
      isSent = true;
      const pending = entries;
      entries = [];
      const forgotten = await sendAll(client, pending);
      await sendAll(
        client,
        forgotten.map((entry) => ({ ...entry, call: withSource(entry.call as PreparedCall<unknown>) })),
        'eval',
      );
    },
  };
}

/** Sends the entries and settles them; those whose script is not known to the server are given back. */
async function sendAll(client: ScriptClient, entries: Entry[], verb: 'evalsha' | 'eval' = 'evalsha'): Promise<Entry[]> {
  if (entries.length === 0) return [];
  const outcomes = client.isCluster
    ? await sendEach(client, entries, verb)
    : await sendPipelined(client as Redis, entries, verb);
  return entries.filter((entry, index) => {
    const [error, value] = outcomes[index] ?? [new Error('Connection is closed.'), undefined];
    const { call } = entry;
    if (error && 'source' in call && verb === 'evalsha' && isNoScript(error)) return true;
    if (error)
      entry.reject(
        'source' in call
          ? explainScriptError(error, call.file, client)
          : explainRedisError(error, `${clientLabel(client)}, ${call.command}`),
      );
    else settle(entry, value, client);
    return false;
  });
}

function settle({ call, resolve, reject }: Entry, value: unknown, client: ScriptClient): void {
  if (!('source' in call)) return resolve(value);
  try {
    resolve(call.reply(value as never));
  } catch (error) {
    reject(explainScriptError(error, call.file, client));
  }
}

type Outcome = [error: Error | null, value: unknown];

async function sendPipelined(client: Redis, entries: Entry[], verb: 'evalsha' | 'eval'): Promise<Outcome[]> {
  try {
    const pipeline = client.pipeline();
    for (const { call } of entries) place(pipeline, call, verb);
    return (await pipeline.exec()) ?? [];
  } catch (error) {
    return entries.map((): Outcome => [error as Error, undefined]);
  }
}

async function sendEach(client: ScriptClient, entries: Entry[], verb: 'evalsha' | 'eval'): Promise<Outcome[]> {
  return Promise.all(
    entries.map(async ({ call }): Promise<Outcome> => {
      try {
        return [null, await place(client, call, verb)];
      } catch (error) {
        return [error as Error, undefined];
      }
    }),
  );
}

function place(to: ScriptClient | ChainableCommander, call: Entry['call'], verb: 'evalsha' | 'eval'): unknown {
  if (!('source' in call)) return to.call(call.command, ...call.args);
  return call.binary ? to.callBuffer(verb, ...call.argv) : to.call(verb, ...call.argv);
}
