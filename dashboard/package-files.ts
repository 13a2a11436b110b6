/** Files of the package that are read as they are. They lie at one place, whether sources run or what was compiled of them. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const root = dirname(createRequire(import.meta.url).resolve('millrace/package.json'));

/** The whole name of a file of this package: `packageFile('dashboard/view/styles.css')`. */
export function packageFile(path: string): string {
  return join(root, path);
}
