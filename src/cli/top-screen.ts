/**
 * The screen of `millrace top`: drawn over itself on the terminal's second screen, which it leaves as it found it, however it ends.
 *
 * Redis down: the last frame stays, with what is wrong below it, until Redis is back.
 */
import { stopSignal, systemClock } from '../index.ts';
import { cut, oneLine } from './table.ts';
import { frameOf } from './top-frame.ts';
import type { TopLook } from './top-look.ts';

/** The terminal, as Node has it. */
export interface Terminal {
  input: NodeJS.ReadableStream & { setRawMode?: (isRaw: boolean) => unknown; unref?: () => unknown };
  output: NodeJS.WritableStream & { columns?: number; rows?: number; hasColors?: () => boolean };
}

const EVERY_MS = 1_000;
/** To the second screen, without a cursor; and back. */
const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';
/** q, Ctrl-C, Ctrl-D. */
// eslint-disable-next-line no-control-regex -- as a terminal sends them
const ENDS = /[qQ\u0003\u0004]/;

/** Draws what `look` sees, each second, until q, Ctrl-C or SIGTERM. */
export async function showLive(
  look: () => Promise<TopLook>,
  { input, output }: Terminal,
  everyMs: number = EVERY_MS,
): Promise<void> {
  const end = new AbortController();
  let seen: TopLook | undefined;
  let failure = '';

  const draw = (): void => {
    if (end.signal.aborted) return;
    // A terminal may have no size yet, or not tell it.
    const columns = output.columns || 80;
    const rows = output.rows || 24;
    const hasColours = output.hasColors?.() ?? false; // Not with NO_COLOR.
    const lines = seen ? frameOf(seen, { columns, rows: rows - 2, hasColours }) : ['looking ...'];
    const foot = cut(failure === '' ? 'q quits' : oneLine(failure), columns);
    output.write(HOME + [...lines, '', foot].map((line) => `${line}${CLEAR_LINE}`).join('\r\n') + CLEAR_BELOW);
  };
  const lookAgain = async (): Promise<void> => {
    try {
      seen = await look();
      failure = '';
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
    }
  };
  const onKey = (keys: Buffer | string): void => {
    if (ENDS.test(keys.toString())) end.abort();
  };
  const restore = (): void => {
    input.setRawMode?.(false);
    output.write(LEAVE);
  };

  output.write(ENTER);
  input.setRawMode?.(true);
  input.on('data', onKey).resume();
  output.on('resize', draw);
  process.once('exit', restore);
  void stopSignal().then(() => end.abort());
  const ended = new Promise<void>((resolve) => {
    end.signal.addEventListener('abort', () => resolve());
  });
  try {
    draw();
    while (!end.signal.aborted) {
      const looked = lookAgain();
      await Promise.race([looked, ended]); // Whoever wants to leave need not wait for Redis.
      draw();
      await systemClock.sleep(everyMs, { signal: end.signal }).catch(() => undefined); // It ends then.
    }
  } finally {
    output.off('resize', draw);
    input.off('data', onKey).pause();
    process.off('exit', restore);
    restore();
  }
}
