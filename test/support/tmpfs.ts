/** Small file systems in memory, for disks that are full or read-only. Only root may mount, and not in every container. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Tmpfs {
  readonly folder: string;
  /** Leaves so many bytes free. */
  fill(bytesLeft?: number): void;
  /** Takes away what fill() has written. */
  free(): void;
  makeReadOnly(): void;
  stop(): Promise<void>;
}

/** A new file system of the size, or the reason why there can be none. */
export function mountTmpfs(megabytes: number): Tmpfs | string {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-tmpfs-'));
  const mount = (...options: string[]): void => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options.join(','), 'tmpfs', folder], { stdio: 'pipe' });
  };
  try {
    mount(`size=${megabytes}m`, 'mode=777');
  } catch (error) {
    rmdirSync(folder);
    return `a tmpfs cannot be mounted here: ${(error as Error).message.trim().replaceAll('\n', ' ')}`;
  }
  const filler = join(folder, 'filler');
  return {
    folder,
    fill(bytesLeft = 0) {
      const { bavail, bsize } = statfsSync(folder);
      writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - bytesLeft)));
    },
    free: () => writeFileSync(filler, ''),
    makeReadOnly: () => mount('remount', 'ro'),
    async stop() {
      // Lazily, because a server that is just ending may still have its log open there.
      execFileSync('umount', ['--lazy', folder]);
      rmdirSync(folder);
    },
  };
}
