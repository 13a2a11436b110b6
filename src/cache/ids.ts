/** What makes a load, a value and a version unlike every other. */
import { randomBytes } from 'node:crypto';

/** Versions live at least that long from when they were last looked at; a load that takes longer stores nothing. */
export const VERSION_KEEP_MS = 3_600_000;

/** 12 characters: of a load, as its token, and of the value that it stores. */
export function newId(): string {
  return randomBytes(9).toString('base64url');
}

/** What ends a version, after the server's µs: not even a clock that was set back makes the same version twice. */
export function newMark(): string {
  return newId().slice(-4);
}
