/** What a consumer does with the entries that it is given: one by one, in batches, or in the order of their keys. */
import type { Listed, Taken } from './scripts.ts';

/** The entries that a consumer has, and what is begun of them. */
export interface Work {
  /** Entries that it has, settled ones not counted. */
  readonly known: number;
  /** Whether an entry waits or runs that must be alone: then nothing else is to be taken. */
  readonly isAlone: boolean;
  /** Entries that Redis delivered for the first time. */
  add(listed: readonly Listed[]): void;
  /** Entries that were tried before, that another process died with, or whose delivery got lost. */
  addTaken(taken: readonly Taken[], areInherited?: boolean): void;
  /** Whether there is room for a read of `count` entries beside `more` that are about to be added. */
  hasRoom(more: number, count: number): boolean;
  /** How many of the latter there is room for. */
  takeRoom(): number;
  /** Adds the ids of all that it has. */
  addIds(ids: Set<string>): void;
  /**
   * Begins nothing any more, and forgets what is not begun; what is added later, too. Gives the ids of the former, each with how many ms it has to
   * wait yet.
   */
  close(): Map<string, number>;
  /** Redis knows more of what was done. */
  onSettled(): void;
  /** Called when something ended, for as long as it is set. */
  onRoom: (() => void) | undefined;
}
