/**
 * Transactions on the queues of one family: look while watching, then write all or nothing.
 *
 * Promise: what commit() is given happens together, and only if nothing of what was watched has changed; true once it has happened,
 * false if it has not. Three things could break that on Redis, and are shut out here:
 * - A WATCH that was lost with its connection: the client never comes back (connect.ts), so the EXEC fails.
 * - A script that the server has forgotten fails inside EXEC while its neighbours run: the scripts travel as text, the first time in
 *   each transaction.
 * - Out of memory, what adds is refused and what removes is not: a command that does nothing but is refused then too makes the server
 *   refuse the EXEC as a whole.
 *
 * One at a time on a connection, because what is watched belongs to it; on a Cluster each master has one, so that families on the others
 * do not wait for one that is away. Redis down: tried again for a moment, then the error; whether an EXEC without an answer has run is
 * unknown, so an act looks again each time it is called.
 */
import type { IRedisTransaction, RedisQueueBackend } from 'bullmq';
import type { ChainableCommander, Redis } from 'ioredis';
import { systemClock, type Clock } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import { explainRedisError } from '../redis/explain.ts';
import type { PreparedCall } from '../redis/script.ts';
import { familyOf } from './queue-names.ts';
import { openQueue, type OpenQueue, type QueueSet } from './queue-set.ts';

/** Where a transaction is; told to tests, which end the process there. */
export const STEPS = ['begun', 'read', 'ready', 'sent', 'done'] as const;
export type Step = (typeof STEPS)[number];

/** What transactions are made of. */
export interface TransactionsOptions {
  clock?: Clock | undefined;
  /** Called and awaited at each step. For tests. */
  onStep?: ((step: Step) => void | Promise<void>) | undefined;
}

/** BullMQ's scripts add their commands to it. */
export interface Commands extends IRedisTransaction {
  /** Takes the place of what is at the new name. The key must be there, and be watched; else the others happen without this one. */
  renameKey(key: string, newKey: string): void;
}

/** One try at a transaction. */
export interface Transaction {
  /** For reading. */
  readonly client: Redis;
  /** Whether an earlier try may have happened although its answer was lost. */
  readonly isRepeated: boolean;
  /** BullMQ's scripts for a queue of the family, on this client. */
  backend(queue: string): RedisQueueBackend;
  /** From now on, a change of one of the keys makes commit() false. */
  watch(...keys: string[]): Promise<void>;
  /** Does what `fill` adds; the replies, or undefined if something that was watched has changed. */
  commit(fill: (commands: Commands) => Promise<void>): Promise<unknown[] | undefined>;
}

const TRIES = 4;
const RETRY_AFTER_MS = 100;
/** What passes by itself, or with another connection. */
const PASSING: ReadonlySet<string> = new Set([
  'REDIS_UNREACHABLE',
  'REDIS_NOT_READY',
  'REDIS_CLUSTER_DOWN',
  'REDIS_TIMEOUT',
  'REDIS_WRITES_REFUSED',
]);
const ELSEWHERE = /^(?:MOVED|ASK|TRYAGAIN)\b/;

/** A connection and BullMQ's scripts on it. */
interface Line {
  client: Redis;
  anchor: OpenQueue;
  /** The end of the last try that was asked for; those of several families may share the line. */
  last: Promise<unknown>;
  isDropped: boolean;
}

/** The transactions of one process. */
export class Transactions {
  readonly #queues: QueueSet;
  readonly #clock: Clock;
  readonly #onStep: (step: Step) => void | Promise<void>;
  readonly #lines = new Map<string, Line>();
  /** The end of the last transaction that was asked for, by family. */
  readonly #last = new Map<string, Promise<unknown>>();
  #isClosed = false;

  constructor(queues: QueueSet, { clock = systemClock, onStep = () => undefined }: TransactionsOptions = {}) {
    this.#queues = queues;
    this.#clock = clock;
    this.#onStep = onStep;
  }

  /**
   * Calls `act` once those of the family before have ended; and again after a failure that passes, for which it must look again at what
   * is there. An act that calls run() itself would wait for its own end.
   *
   * @param queue Any queue of the family that it is about.
   * @throws MillraceError what Redis or `act` has failed with; CLOSED.
   */
  run<T>(queue: string, act: (transaction: Transaction) => Promise<T>): Promise<T> {
    const family = this.#familyOf(queue);
    const turn = (this.#last.get(family) ?? Promise.resolve()).then(() => this.#run(queue, act));
    const forget = (): void => {
      if (this.#last.get(family) === ended) this.#last.delete(family);
    };
    const ended: Promise<void> = turn.then(forget, forget); // How it ended is told to whoever asked for it.
    this.#last.set(family, ended);
    return turn;
  }

  /** Waits for those that are under way, and hangs up. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#last.values());
    for (const line of new Set(this.#lines.values())) await this.#drop(line);
  }

  async #run<T>(queue: string, act: (transaction: Transaction) => Promise<T>): Promise<T> {
    for (let tried = 1; ; tried++) {
      if (this.#isClosed)
        throw new MillraceError('CLOSED', 'the transactions of this process have been closed', { queue });
      try {
        return await this.#inTurn(queue, (line) => this.#try(line, queue, act, tried > 1));
      } catch (error) {
        const root = rootOf(error);
        const explained = explainRedisError(root, this.#queues.connections.label);
        const passes = PASSING.has(explained.code) || (root instanceof Error && ELSEWHERE.test(root.message));
        if (!passes || tried === TRIES) throw explained;
        await this.#clock.sleep(RETRY_AFTER_MS * tried);
      }
    }
  }

  /** Alone on the line of the queue's family. */
  async #inTurn<T>(queue: string, act: (line: Line) => Promise<T>): Promise<T> {
    for (;;) {
      const line = await this.#lineOf(queue);
      const turn = line.last.then(() => (isOpen(line) ? { result: act(line) } : undefined));
      line.last = turn.then((begun) => begun?.result).catch(() => undefined); // Told to whoever asked for it.
      const begun = await turn;
      if (begun) return begun.result; // Else the one before has hung up.
    }
  }

  async #try<T>(
    line: Line,
    queue: string,
    act: (transaction: Transaction) => Promise<T>,
    isRepeated: boolean,
  ): Promise<T> {
    let isWatching = false;
    try {
      await this.#onStep('begun');
      const result = await act({
        client: line.client,
        isRepeated,
        backend: (name) => this.#backend(line, name),
        watch: async (...keys) => {
          if (keys.length === 0) return;
          isWatching = true;
          await line.client.watch(...keys);
        },
        commit: async (fill) => {
          isWatching = false;
          return this.#commit(line, queue, fill);
        },
      });
      if (isWatching) await line.client.unwatch();
      return result;
    } catch (error) {
      await this.#drop(line); // Nobody knows what it still watches, or whether it is the right node.
      throw error;
    }
  }

  async #commit(
    line: Line,
    queue: string,
    fill: (commands: Commands) => Promise<void>,
  ): Promise<unknown[] | undefined> {
    await this.#onStep('read');
    const multi = line.client.multi();
    multi.lpushx(this.#queues.keys.ledger(queue, 'nothing'), '');
    await fill(scriptsAsText(multi, line.client));
    await this.#onStep('ready');
    const executed = multi.exec();
    executed.catch(() => undefined); // Awaited below, unless the step fails before.
    await this.#onStep('sent');
    const replies = await executed;
    await this.#onStep('done');
    if (replies === null) return undefined;
    const [, ...values] = replies.map(([error, value]) => {
      if (error) throw error;
      return value;
    });
    return values;
  }

  async #lineOf(queue: string): Promise<Line> {
    const { connections, keys, log } = this.#queues;
    const family = this.#familyOf(queue);
    const known = this.#lines.get(family);
    if (known && isOpen(known)) return known;
    if (known) await this.#drop(known);
    const client = await connections.transaction(keys.queuePrefix(queue));
    const { host, port } = client.options;
    const shared = [...this.#lines.values()].find(
      (line) => line.client.options.host === host && line.client.options.port === port && isOpen(line),
    );
    if (shared && family !== '') client.disconnect();
    const line = (family === '' ? undefined : shared) ?? newLine(client, openQueue(queue, keys, client, log));
    await line.anchor.backend.client; // Its scripts are known then.
    this.#lines.set(family, line);
    return line;
  }

  /** Only on a Cluster do they lie on several servers. */
  #familyOf(queue: string): string {
    return this.#queues.connections.topology === 'cluster' ? familyOf(queue) : '';
  }

  #backend(line: Line, queue: string): RedisQueueBackend {
    return line.anchor.backend.forQueue(queue, this.#queues.keys.queuePrefix(queue)) as RedisQueueBackend;
  }

  async #drop(line: Line): Promise<void> {
    for (const [family, other] of this.#lines) if (other === line) this.#lines.delete(family);
    if (line.isDropped) return;
    line.isDropped = true;
    await line.anchor.queue.close();
    line.client.disconnect();
  }
}

function newLine(client: Redis, anchor: OpenQueue): Line {
  return { client, anchor, last: Promise.resolve(), isDropped: false };
}

function isOpen({ client, isDropped }: Line): boolean {
  return !isDropped && client.status !== 'end';
}

/** What ioredis knows of a script that was bound to a client. */
interface BoundScript {
  lua: string;
  sha: string;
  numberOfKeys: number;
}

/** BullMQ's scripts as commands of the transaction: with their text the first time, so that no server can have forgotten them. */
function scriptsAsText(multi: ChainableCommander, client: Redis): Commands {
  const { scriptsSet } = client as unknown as { scriptsSet: Record<string, BoundScript> };
  const travelled = new Set<string>();
  const commands = {
    runCommand(name: string, args: Array<string | number | Buffer>) {
      const script = scriptsSet[name];
      if (!script) throw new MillraceError('SCRIPT_INVALID', `BullMQ has no script ${name}`, { script: name });
      const { lua, sha, numberOfKeys } = script;
      if (travelled.has(sha)) multi.evalsha(sha, numberOfKeys, ...args);
      else multi.eval(lua, numberOfKeys, ...args);
      travelled.add(sha);
      return commands;
    },
    renameKey: (key: string, newKey: string) => void multi.rename(key, newKey),
  };
  return commands as unknown as Commands;
}

/** Adds a script of ours to a transaction; its reply comes as the server sent it. */
export function addScript(client: Redis, commands: Commands, { file, source, argv }: PreparedCall<unknown>): void {
  if (!(file in client)) client.defineCommand(file, { lua: source, numberOfKeys: Number(argv[1]) });
  commands.runCommand(file, argv.slice(2));
}

/** What the server said first: an EXEC that was refused tells of it in a list. */
function rootOf(error: unknown): unknown {
  return (error as { previousErrors?: Error[] } | undefined)?.previousErrors?.[0] ?? error;
}
