/** Progress of long work: one line that is written over on a terminal, a line a step elsewhere. */

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
        stream.write(`\r\u001b[K  ${line}`);
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
