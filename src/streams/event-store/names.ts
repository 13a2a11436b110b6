/** Ids and keys that users choose: any text, as long as two of them never become one on the way. */
import { describeValue, MillraceError } from '../../errors.ts';

const LONGEST = 512;

/** @throws MillraceError KEY_INVALID for what is no text, empty, too long, or has half a surrogate pair, which would arrive as another character. */
export function checkName(what: string, name: unknown): asserts name is string {
  if (isName(name)) return;
  const message = `${what}: expected a text of 1 to ${LONGEST} characters without half surrogate pairs, got ${describeValue(name)}`;
  throw new MillraceError('KEY_INVALID', message, {
    [what.replaceAll(/ (\w)/g, (_, first: string) => first.toUpperCase())]: name,
  });
}

/** Likewise, as a question. */
export function isName(name: unknown): name is string {
  return typeof name === 'string' && name !== '' && name.length <= LONGEST && !/\p{Surrogate}/u.test(name);
}
