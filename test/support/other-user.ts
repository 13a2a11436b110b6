/** Another user, for tests of what only root may do. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const NOBODY = 65_534;

/** The user's id; or why no process of another user can run this checkout here. */
export function findOtherUser(): number | string {
  if (process.getuid?.() !== 0) return 'only root can become another user';
  // Node itself, or the checkout, may lie in a folder that is root's alone.
  const script = fileURLToPath(new URL('../../src/cli/millrace.js', import.meta.url));
  const read = ['-e', 'require("fs").accessSync(process.argv[1])', script];
  const { status } = spawnSync(process.execPath, read, { uid: NOBODY, gid: NOBODY });
  return status === 0 ? NOBODY : `user ${NOBODY} may not read this checkout, or not run this Node`;
}
