/** Where to go after the sign-in, or back to: a path of this dashboard, whatever somebody has written into the link. */

/** The path within the dashboard; `/` for what leads elsewhere. */
export function safePath(text: string): string {
  if (!text.startsWith('/') || text.length > 2_000) return '/';
  // The base has a name that no link can have: what leaves it is of another site.
  const base = 'http://dashboard.invalid';
  if (!URL.canParse(text, base)) return '/';
  const { origin, pathname, search, hash } = new URL(text, base);
  // A path such as `/..//elsewhere.example` loses its dots here, and two slashes at the beginning are another site.
  return origin === base && !pathname.startsWith('//') ? pathname + search + hash : '/';
}
