/** A stack for people: frames of the user's own code stand out from those of packages and of Node. */
import type { ComponentChildren } from 'preact';

const LONGEST_SHOWN = 20_000;
const FRAME = /^\s*at /;
const FOREIGN = /[( ]node:|\(internal\/|[\\/]node_modules[\\/]|<anonymous>\)?$/;

/** Shown as text; each line is a frame of ours, one of others, or no frame. */
export function Stack({ text, open = true }: { text: string; open?: boolean }) {
  const lines = text.slice(0, LONGEST_SHOWN).split('\n');
  const shown: ComponentChildren[] = lines.map((line, index) => (
    <span key={index} class={kindOf(line)}>
      {index === lines.length - 1 ? line : `${line}\n`}
    </span>
  ));
  return (
    <details class="code" open={open}>
      <summary>Stack</summary>
      <pre tabIndex={0}>
        <code>{shown}</code>
      </pre>
    </details>
  );
}

function kindOf(line: string): string | undefined {
  if (!FRAME.test(line)) return undefined;
  return FOREIGN.test(line) ? 'frame-foreign' : 'frame-own';
}
