/** What a mistyped word was meant to be. */
import { nearest } from '../index.ts';

/** `; did you mean email?`, or nothing when no known word is near. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const meant = nearest(word, known);
  return meant === undefined ? '' : `; did you mean ${meant}?`;
}
