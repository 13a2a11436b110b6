/** Folders that the user may choose: made and tried before use, and their faults told in one clear error. */
import { existsSync } from 'node:fs';
import { access, constants, mkdir, realpath, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MillraceError } from '../../errors.ts';

/** A folder, and how people call it. */
export interface ChosenFolder {
  folder: string;
  /** Such as `data folder`. */
  what: string;
  /** The variable that chooses another one. */
  variable: string;
}

/** What the file system says when a folder is of no use: read-only, full, not ours, not a folder. */
const FAULTS = new Set(['EROFS', 'EACCES', 'EPERM', 'ENOSPC', 'EDQUOT', 'ENOTDIR', 'EEXIST', 'ENAMETOOLONG', 'ELOOP']);

/**
 * Makes the folder if need be; gives its real path.
 * @throws MillraceError FOLDER_UNUSABLE
 */
export async function prepareFolder(chosen: ChosenFolder): Promise<string> {
  const { folder } = chosen;
  return explainingFolder(chosen, async () => {
    try {
      await mkdir(folder, { recursive: true });
    } catch (error) {
      // On a read-only disk mkdir says that there is no such file; the folder above says why.
      await access(nearestFolder(folder), constants.W_OK);
      throw error;
    }
    await access(folder, constants.W_OK);
    return realpath(folder);
  });
}

/** @throws MillraceError FOLDER_UNUSABLE when less space is free where the folder is. */
export async function requireSpace(chosen: ChosenFolder, neededBytes: number): Promise<void> {
  await explainingFolder(chosen, async () => {
    const { bavail, bsize } = await statfs(chosen.folder);
    if (bavail * bsize >= neededBytes) return;
    const reason = `only ${inMegabytes(bavail * bsize)} MB are free there, ${inMegabytes(neededBytes)} MB are needed`;
    throw Object.assign(new Error(reason), { code: 'ENOSPC' });
  });
}

function nearestFolder(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestFolder(dirname(path));
}

/** What `act` gives; a fault of the file system becomes FOLDER_UNUSABLE, which names the folder and what to do. */
export async function explainingFolder<T>({ folder, what, variable }: ChosenFolder, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (error instanceof MillraceError || code === undefined || !FAULTS.has(code)) throw error;
    throw new MillraceError(
      'FOLDER_UNUSABLE',
      `the ${what} ${folder} cannot be used: ${(error as Error).message}. Mend it, or set ${variable} to another folder`,
      { folder, reason: code, cause: error },
    );
  }
}

function inMegabytes(bytes: number): number {
  return Math.floor(bytes / 2 ** 20);
}
