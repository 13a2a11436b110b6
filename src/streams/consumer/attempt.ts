/**
 * One attempt of one entry, and what its handler is given.
 *
 *   begun --handler returns--> done
 *   begun --handler throws---> failed
 *   begun --interrupt()------> interrupted --handler ends, or the grace is over--> done, or what the interruption says
 *
 * Millions of them pass in a minute, so that nothing is made before it is asked for: no signal, no log, no facts.
 */
import type { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { Link } from '../../redis/ring.ts';
import type { EntryFacts, EntryOwnContext, StreamModules } from '../context.ts';
import { decodeEntry, publishedAtOf, type RawEntry } from '../entry.ts';

/** What is common to all attempts of a consumer. */
export interface AttemptHost {
  readonly stream: string;
  readonly group: string;
  readonly attempts: number;
  readonly log: Logger;
}

/** Why an attempt must end before its handler has. `lost`: the entry may be another process's. `released`: it is given back. */
export type Interruption = 'timeout' | 'lost' | 'released';

/** What came of one entry in this process. */
export class Attempt extends Link {
  readonly host: AttemptHost;
  readonly id: string;
  readonly fields: readonly string[];
  /** Attempts before this one. */
  readonly made: number;
  /** How many of them ended with their process. */
  readonly deaths: number;
  #raw: RawEntry | undefined;
  #facts: EntryFacts | undefined;
  #abort: AbortController | undefined;
  /** When the next thing happens to it if it does not end: its timeout, then the end of its grace; in monotonic ms. */
  atMs = 0;
  interruption: { readonly kind: Interruption; readonly error: MillraceError } | undefined = undefined;
  isOver = false;
  /** Whether something is noted of it in Redis, which must go when it is done. */
  isNoted: boolean;
  /** Ends it though its handler has not. */
  giveUp: ((thrown: unknown, isDone: boolean) => void) | undefined = undefined;

  constructor(host: AttemptHost, id: string, fields: readonly string[], made: number, deaths: number) {
    super();
    this.host = host;
    this.id = id;
    this.fields = fields;
    this.made = made;
    this.deaths = deaths;
    this.isNoted = made > 0 || deaths > 0;
  }

  get raw(): RawEntry {
    return (this.#raw ??= decodeEntry(this.id, this.fields));
  }

  get facts(): EntryFacts {
    return (this.#facts ??= this.#readFacts());
  }

  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.interruption) this.#abort.abort(this.interruption.error);
    }
    return this.#abort.signal;
  }

  /** The first one counts. */
  interrupt(kind: Interruption, error: MillraceError): void {
    if (this.interruption || this.isOver) return;
    this.interruption = { kind, error };
    this.#abort?.abort(error);
  }

  #readFacts(): EntryFacts {
    const { stream, group, attempts } = this.host;
    const { originId, redriven, headers } = this.raw;
    return Object.freeze({
      id: originId,
      stream,
      group,
      // A process that died may have used up the last attempt without having begun it.
      attempt: Math.min(this.made + 1, attempts),
      attempts,
      publishedAt: publishedAtOf(originId),
      redriven,
      headers,
    });
  }
}

/** Makes the context of an attempt. */
export type ContextClass = new (attempt: Attempt) => EntryOwnContext;

/** The contexts of one consumer: the modules are found on their prototype, so that they cost an entry nothing. */
export function contextClass(modules: Partial<StreamModules>): ContextClass {
  class Context implements EntryOwnContext {
    readonly #attempt: Attempt;

    constructor(attempt: Attempt) {
      this.#attempt = attempt;
    }

    get entry(): EntryFacts {
      return this.#attempt.facts;
    }

    get signal(): AbortSignal {
      return this.#attempt.signal;
    }

    get log(): Logger {
      return logOf(this.#attempt);
    }
  }
  Object.assign(Context.prototype, modules);
  return Context;
}

function logOf({ host: { log, stream, group }, facts: { id, attempt } }: Attempt): Logger {
  return log.child({ stream, group, entry: id, attempt });
}
