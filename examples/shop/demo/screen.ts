/** One line that tells how it goes: redrawn in its place on a terminal, a line every ten seconds elsewhere. */
import { systemClock } from 'millrace';

const REDRAW_MS = 500;
const LINE_MS = 10_000;

/** Shows what `line` gives until the signal. */
export async function showProgress(
  line: () => Promise<string>,
  signal: AbortSignal,
  stream: NodeJS.WriteStream = process.stdout,
): Promise<void> {
  const { isTTY } = stream;
  while (!signal.aborted) {
    await systemClock.sleep(isTTY ? REDRAW_MS : LINE_MS, { signal }).catch(() => undefined); // The demo ends.
    if (signal.aborted) break;
    const text = await line();
    stream.write(isTTY ? `\r\u001b[K${text.slice(0, (stream.columns ?? 80) - 1)}` : `${text}\n`);
  }
  if (isTTY) stream.write('\r\u001b[K');
}
