/** What the handler of an entry is given beside its data. */
import type { Logger } from '../log.ts';

/** What the platform adds to every handler's context: each module of it, by name. */
// eslint-disable-next-line typescript/no-empty-interface -- filled by modules.ts
export interface StreamModules {}

/** Facts of the entry that a handler runs. */
export interface EntryFacts {
  /** The id that it was published under; the same on each attempt, and after a redrive. */
  readonly id: string;
  readonly stream: string;
  readonly group: string;
  /** Which attempt this is; the first is 1. */
  readonly attempt: number;
  /** How many attempts it has at most. */
  readonly attempts: number;
  /** When it was published, in ms since 1970 on the server's clock. */
  readonly publishedAt: number;
  /** How often it came back from the dead letters. */
  readonly redriven: number;
  /** What its publisher sent beside the data. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What a handler is given of its entry. */
export interface EntryOwnContext {
  readonly entry: EntryFacts;
  /** Aborts when the attempt times out, when the process lost its lease, or when it stops and cannot wait longer. Its reason is a MillraceError. */
  readonly signal: AbortSignal;
  /** The worker's log with the entry's id. */
  readonly log: Logger;
}

/** What a handler is given beside the data. All of it may be taken apart: `({ entry, signal, cache }) => ...`. */
export interface EntryContext extends EntryOwnContext, StreamModules {}

/** What a batch handler is given beside its entries. */
export interface BatchOwnContext {
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** Likewise. */
export interface BatchContext extends BatchOwnContext, StreamModules {}
