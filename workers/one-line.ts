/** What a header may hold: nothing that could begin another one. */

/** One line: no control characters, no separators of lines. */
export const ONE_LINE = /^[^\p{Cc}\u2028\u2029]*$/u;
