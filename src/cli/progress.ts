/** Progress of long work: one line that is written over on a terminal, a line a step elsewhere. */
import { systemClock } from '../index.ts';
import { terminalColumns } from './output.ts';
import { cut } from './table.ts';

/** Shows steps such as `downloading ...: 42 %`. */
export function progressLine(stream: NodeJS.WriteStream = process.stderr): {
  show: (line: string) => void;
  clear: () => void;
} {
  let lastStep = '';
  let isOpen = false;
  return {
    show(line) {
      if (stream.isTTY) {
        // A line that goes on below could not be written over.
        stream.write(`\r\u001b[K${cut(`  ${line}`, terminalColumns(stream) - 1)}`);
        isOpen = true;
        return;
      }
      const step = line.replace(/: \d+ %$/, '');
      if (step !== lastStep) stream.write(`  ${step}\n`);
      lastStep = step;
    },
    clear() {
      if (isOpen) stream.write('\r\u001b[K');
      isOpen = false;
    },
  };
}

const BAR_WIDTH = 24;
/** Columns that are neither the bar's nor the text's: the indent, the brackets, the spaces. */
const AROUND_BAR = 6;
const SHOW_EVERY_MS = 100;
/** Work that is over by then needs no bar. */
const SHOW_AFTER_MS = 500;

/** A bar such as `[######------] 120 of 500 jobs`, for work that takes long; only on a terminal. */
export function progressBar(
  what: string,
  stream: NodeJS.WriteStream = process.stderr,
): { show: (done: number, total: number) => void; clear: () => void } {
  const line = progressLine(stream);
  let nextAt = systemClock.monotonicMs() + SHOW_AFTER_MS;
  return {
    show(done, total) {
      const now = systemClock.monotonicMs();
      if (!stream.isTTY || now < nextAt) return;
      nextAt = now + SHOW_EVERY_MS;
      const told = `${done} of ${total} ${what}`;
      line.show(`${bar(done, total, terminalColumns(stream) - told.length - AROUND_BAR)} ${told}`);
    },
    clear: () => line.clear(),
  };
}

function bar(done: number, total: number, room: number): string {
  const width = Math.min(BAR_WIDTH, Math.max(1, room));
  const full = total === 0 ? width : Math.floor((Math.min(done, total) / total) * width);
  return `[${'#'.repeat(full)}${'-'.repeat(width - full)}]`;
}
