/**
 * A file that is written in pieces, by one process after the other.
 *
 *   parts/JOB/FENCE.part   what is written so far
 *   parts/JOB/FENCE.json   how much of it counts, and where it goes on: a record
 *   FILE                   the whole, under a name that has the fence too
 *
 * Promise: what a record tells is on the disk before the record is, so after a kill, or a crash of the machine, the file goes on from there with
 * nothing missing and nothing twice. Each holder of the lock writes files of its own fence only, and takes what its predecessor has into its own by
 * copying: an older one that still runs writes where nobody reads any more, and never into the file of a newer one.
 */
import { createHash, type Hash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';

const recordSchema = z.object({
  /** What is written; a job that has come back with another input begins anew. */
  asked: z.string(),
  /** What the lines look like; another shape is not gone on with. */
  shape: z.string(),
  bytes: z.int().min(0),
  rows: z.int().min(0),
  cursor: z.json().optional(),
  /** Whether all is there; then the file may have its name already. */
  whole: z.object({ file: z.string(), sha256: z.string() }).optional(),
});

/** How far a file is. */
export type PartRecord = z.output<typeof recordSchema>;

/** That of a file which is whole. */
export type Whole = PartRecord & { readonly whole: NonNullable<PartRecord['whole']> };

/** What is added at once. */
export interface Piece {
  readonly text: string;
  readonly rows: number;
  /** The place of its last row. */
  readonly cursor: PartRecord['cursor'];
}

const COPY_BYTES = 1 << 20;
const NAME = /^(\d+)\.json$/;

/** What is needed to write it. */
export interface PartPlace {
  /** Where finished files are. */
  readonly folder: string;
  /** Of the job; safe as the name of a file. */
  readonly job: string;
  readonly fence: number;
  /** Names what is written: goes on with nothing else. */
  readonly asked: string;
  readonly shape: string;
}

/** A file that is being written. */
export class PartFile {
  readonly #place: PartPlace;
  readonly #handle: FileHandle;
  readonly #hash: Hash;
  #record: PartRecord;

  private constructor(place: PartPlace, handle: FileHandle, hash: Hash, record: PartRecord) {
    this.#place = place;
    this.#handle = handle;
    this.#hash = hash;
    this.#record = record;
  }

  /** Goes on with what an earlier attempt has left, or begins. Gives the record alone where that attempt has finished the file. */
  static async open(place: PartPlace, signal: AbortSignal): Promise<PartFile | Whole> {
    const folder = folderOf(place);
    await mkdir(folder, { recursive: true });
    const earlier = await newestRecord(place);
    if (earlier && (await isPublished(place, earlier))) return earlier.record as Whole;
    const handle = await open(join(folder, `${place.fence}.part`), 'w');
    const hash = createHash('sha256');
    const begun: PartRecord = { asked: place.asked, shape: place.shape, bytes: 0, rows: 0 };
    try {
      const isTaken = earlier !== undefined && (await copy(place, earlier, { handle, hash, signal }));
      const { whole: _, ...record } = isTaken ? earlier.record : begun;
      const file = new PartFile(place, handle, isTaken ? hash : createHash('sha256'), record);
      if (!isTaken) await handle.truncate(0);
      await file.#keep(record);
      await removeOlder(place);
      return file;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** What counts of it. */
  get record(): PartRecord {
    return this.#record;
  }

  /** Adds a piece, which counts once this has resolved. */
  async append({ text, rows, cursor }: Piece): Promise<void> {
    const bytes = Buffer.from(text);
    const { asked, shape, bytes: before, rows: rowsBefore } = this.#record;
    await writeAll(this.#handle, bytes, before);
    this.#hash.update(bytes);
    await this.#keep({ asked, shape, bytes: before + bytes.length, rows: rowsBefore + rows, cursor });
  }

  /** Gives the whole its name. */
  async publish(file: string): Promise<Whole> {
    const record = { ...this.#record, whole: { file, sha256: this.#hash.copy().digest('hex') } };
    await this.#keep(record);
    await rename(join(folderOf(this.#place), `${this.#place.fence}.part`), join(this.#place.folder, file));
    await syncFolder(this.#place.folder);
    return record;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** The data first, then what tells of it. */
  async #keep(record: PartRecord): Promise<void> {
    await this.#handle.datasync();
    const path = join(folderOf(this.#place), `${this.#place.fence}.json`);
    const handle = await open(`${path}.new`, 'w');
    try {
      await handle.writeFile(JSON.stringify(record));
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(`${path}.new`, path);
    await syncFolder(dirname(path));
    this.#record = record;
  }
}

/** Removes what is kept to go on with; the finished file stays. */
export async function forgetParts(place: Pick<PartPlace, 'folder' | 'job'>): Promise<void> {
  await rm(folderOf(place), { recursive: true, force: true });
}

/** Where the parts of all jobs are. */
export function partsFolder(folder: string): string {
  return join(folder, '.parts');
}

function folderOf({ folder, job }: Pick<PartPlace, 'folder' | 'job'>): string {
  return join(partsFolder(folder), job);
}

interface Earlier {
  readonly fence: number;
  readonly record: PartRecord;
}

/** Of the newest holder before this one that has left something to go on with. */
async function newestRecord(place: PartPlace): Promise<Earlier | undefined> {
  const names = await readdir(folderOf(place));
  const fences = names
    .map((name) => Number(NAME.exec(name)?.[1] ?? Number.NaN))
    .filter((fence) => fence < place.fence)
    .toSorted((one, other) => other - one);
  for (const fence of fences) {
    const record = await readRecord(join(folderOf(place), `${fence}.json`));
    if (record?.asked === place.asked && (record.whole || record.shape === place.shape)) return { fence, record };
  }
  return undefined;
}

async function readRecord(path: string): Promise<PartRecord | undefined> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined; // Somebody has removed it, or it is none: then it is begun anew.
  }
}

/** Whether the whole has its name; one that was killed right before that is given it. */
async function isPublished(place: PartPlace, { fence, record: { whole, bytes } }: Earlier): Promise<boolean> {
  if (!whole) return false;
  const target = join(place.folder, whole.file);
  const part = join(folderOf(place), `${fence}.part`);
  if ((await sizeOf(target)) === bytes) return true;
  if ((await sizeOf(part)) !== bytes) return false;
  await rename(part, target);
  await syncFolder(place.folder);
  return true;
}

/** Takes over what counts of an earlier part. @returns false where that is of another shape, or is not there */
async function copy(
  place: PartPlace,
  { fence, record }: Earlier,
  { handle, hash, signal }: { handle: FileHandle; hash: Hash; signal: AbortSignal },
): Promise<boolean> {
  const path = join(folderOf(place), `${fence}.part`);
  const size = await sizeOf(path);
  if (record.shape !== place.shape || size === undefined || size < record.bytes) return false;
  const source = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(Math.min(COPY_BYTES, Math.max(1, record.bytes)));
    for (let at = 0; at < record.bytes;) {
      signal.throwIfAborted();
      const { bytesRead } = await source.read(buffer, 0, Math.min(buffer.length, record.bytes - at), at);
      if (bytesRead === 0) return false;
      const bytes = buffer.subarray(0, bytesRead);
      await writeAll(handle, bytes, at);
      hash.update(bytes);
      at += bytesRead;
    }
    return true;
  } finally {
    await source.close();
  }
}

async function removeOlder(place: PartPlace): Promise<void> {
  const names = await readdir(folderOf(place));
  // Never what a newer one has: this one may have been overtaken.
  const older = names.filter((name) => Number.parseInt(name, 10) < place.fence);
  await Promise.all(older.map((name) => rm(join(folderOf(place), name), { force: true })));
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** So that a name that was given survives a crash of the machine. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
