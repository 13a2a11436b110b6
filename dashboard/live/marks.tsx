/** Parts of a page that dashboard/client/live.js keeps current. Without script they stay as they were rendered. */
import type { ComponentChildren } from 'preact';
import type { Tone } from '../view/values.tsx';
import { countText, durationText } from './texts.ts';

/** A count that follows a cell. */
export function LiveCount({ name, of }: { name: string; of: number }) {
  return (
    <span class={of === 0 ? 'number zero' : 'number'} data-live={name}>
      {countText(of)}
    </span>
  );
}

/** A text that follows a cell; of what is counted or measured, as `Count` has it. */
export function LiveText({ name, isZero = false, children }: { name: string; isZero?: boolean; children: string }) {
  return (
    <span class={isZero ? 'number zero' : 'number'} data-live={name}>
      {children}
    </span>
  );
}

/** A duration that follows a cell; a dash where there is none. */
export function LiveDuration({ name, ms }: { name: string; ms: number | undefined }) {
  return (
    <LiveText name={name} isZero={ms === undefined}>
      {ms === undefined ? '–' : durationText(ms)}
    </LiveText>
  );
}

/** A state that follows a cell, with its colour. */
export function LiveBadge({ name, tone, children }: { name: string; tone: Tone; children: string }) {
  return (
    <span class={`badge tone-${tone}`} data-live-tone={name}>
      {children}
    </span>
  );
}

/**
 * A part of the page that is fetched again when the cell `when` changes: rows came, or went. The name is the part's own on its page; `is` is the
 * cell as it was when the page was rendered, where that is known.
 */
export function LivePart({
  name,
  when,
  is,
  children,
}: {
  name: string;
  when: string;
  is?: string | undefined;
  children: ComponentChildren;
}) {
  return (
    <div data-live-part={name} data-live-when={when} data-live-is={is}>
      {children}
    </div>
  );
}
