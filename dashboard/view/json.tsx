/** Data of users: shown as text, cut where it is large, folded where it is long. */

/** What is shown of a value at most; more would make a page that no browser likes. */
const LONGEST_SHOWN = 20_000;
/** A value of so many lines is shown open. */
const LINES_OPEN = 12;

/** A value as JSON. Mask secrets before. `label` says what it is. */
export function Json({ label, value, open }: { label: string; value: unknown; open?: boolean }) {
  const text = jsonText(value);
  if (text === undefined) return <p class="empty">{label}: nothing.</p>;
  return <Folded label={label} text={text} open={open} />;
}

/** A text with its own lines, such as a stack or a log. */
export function CodeBlock({ label, text, open }: { label: string; text: string; open?: boolean }) {
  return <Folded label={label} text={text} open={open} />;
}

function Folded({ label, text, open }: { label: string; text: string; open: boolean | undefined }) {
  const shown = text.length > LONGEST_SHOWN ? text.slice(0, LONGEST_SHOWN) : text;
  const isShort = shown.split('\n', LINES_OPEN + 1).length <= LINES_OPEN && shown.length < 2_000;
  return (
    <details class="code" open={open ?? isShort}>
      <summary>{label}</summary>
      <pre tabIndex={0}>
        <code>{shown}</code>
      </pre>
      {shown.length < text.length && (
        <p class="cut">
          The first {LONGEST_SHOWN.toLocaleString('en-US')} of {text.length.toLocaleString('en-US')} characters.
        </p>
      )}
    </details>
  );
}

function jsonText(value: unknown): string | undefined {
  try {
    return JSON.stringify(value, undefined, 2);
  } catch {
    return 'a value that has no JSON form';
  }
}
