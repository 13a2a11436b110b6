/**
 * The libraries that the benches compare with. They are dependencies of this folder alone, so they are typed here by what is used of
 * them, and a bench does without those that are not installed.
 */
const missing = new Set<string>();

/** The module, or undefined when its package is not installed. */
export async function importPeer<Peer>(specifier: string): Promise<Peer | undefined> {
  const [name = specifier] = specifier.split('/');
  try {
    return (await import(specifier)) as Peer;
  } catch (error) {
    // What the package itself fails to find is a fault.
    if (!(error instanceof Error) || !error.message.includes(`Cannot find package '${name}'`)) throw error;
    missing.add(name);
    return undefined;
  }
}

/** What to do to have all of them, in one line; undefined when nothing was missed. */
export function missingPeers(): string | undefined {
  if (missing.size === 0) return undefined;
  const names = [...missing].join(', ');
  return `Not installed: ${names}. Where they are the other side, only ours runs. To compare: npm ci --prefix bench`;
}
