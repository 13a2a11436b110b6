/**
 * The standings of a season as a file, a line of JSON each.
 *
 * It is written beside its place and moved there when it is whole, so whoever finds it finds all of it. An archive changes no more: whoever
 * writes it again, after a kill, writes the same.
 */
import { createHash } from 'node:crypto';
import { open, readdir, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { unrecoverable } from 'millrace';
import type { SeasonStanding } from './contract.ts';

const LINES_AT_ONCE = 1_000;

/**
 * Writes them to the folder, and gives the name of the file and how many they were.
 *
 * @throws MillraceError JOB_UNRECOVERABLE where there are fewer than `lines`: an archive may expire while it is read
 */
export async function writeSeason(
  folder: string,
  { board, season }: { board: string; season: string },
  standings: AsyncIterable<SeasonStanding>,
  { id, lines: most, onLines }: { id: string; lines: number; onLines: (written: number) => void },
): Promise<{ file: string; lines: number }> {
  // No dot in the season: what is before the last one is the board.
  const file = join(folder, `${plain(board, /^[\w-][\w.-]{0,63}$/)}.${plain(season, /^[\w-]{1,64}$/)}.jsonl`);
  const part = `${file}.${id}.part`;
  let lines = 0;
  const handle = await open(part, 'w');
  try {
    let text = '';
    for await (const standing of standings) {
      text += `${JSON.stringify(standing)}\n`;
      if (++lines % LINES_AT_ONCE !== 0) continue;
      await handle.appendFile(text);
      text = '';
      onLines(lines);
    }
    if (lines < most) throw unrecoverable(`the archive of season ${season} of board ${board} went while it was read`);
    await handle.appendFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(part, file);
  await sweep(folder, file);
  return { file, lines };
}

/** What attempts that were killed have left. One that still writes fails when it is done, for the file is there. */
async function sweep(folder: string, file: string): Promise<void> {
  const names = (await readdir(folder)).map((name) => join(folder, name));
  const parts = names.filter((name) => name.startsWith(`${file}.`) && name.endsWith('.part'));
  await Promise.all(parts.map((name) => unlink(name).catch(() => undefined))); // Another one may have done so.
}

/** A name for a file: the text itself, or its beginning and a digest. */
function plain(text: string, form: RegExp): string {
  if (form.test(text)) return text;
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 16);
  return `${text.replaceAll(/[^\w-]+/g, '-').slice(0, 40)}-${digest}`;
}
