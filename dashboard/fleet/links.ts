/** Links to names that anybody may have chosen. */

/** A name as one step of a path. Half of a surrogate pair, which no address can have, becomes U+FFFD instead of an error. */
export function segment(name: string): string {
  return encodeURIComponent(Buffer.from(name).toString());
}

/** A path with its parameters; those that are empty are left out. */
export function linkTo(path: string, parameters: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(parameters).filter((pair): pair is [string, string] => (pair[1] ?? '') !== '');
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`;
}
