/** Figures of streams and their groups, and where they lead. */
import type { StreamGroupInfo } from 'millrace';
import { segment } from '../fleet/links.ts';
import { LiveCount } from '../live/marks.tsx';
import { Count } from '../view/components.tsx';
import { useView } from '../view/context.ts';

/** Where the dead letters of a group are. */
export function deadLettersPath(stream: string, group: string): string {
  return `/dead-letters/streams/${segment(stream)}/${segment(group)}`;
}

/** What a group has not read; Redis cannot always tell exactly. With `stream` it is live. */
export function Lag({ group, stream }: { group: StreamGroupInfo; stream?: string }) {
  const { name, lag, isEstimate } = group;
  const count = stream === undefined ? <Count of={lag} /> : <LiveCount name={`group:${stream}/${name}:lag`} of={lag} />;
  return (
    <span>
      {isEstimate && <abbr title="Redis cannot tell exactly: entries were deleted out of turn.">about</abbr>} {count}
    </span>
  );
}

/** The dead letters of a group, with the way to them. */
export function GroupDeadLetters({ stream, group: { name, deadLetters } }: { stream: string; group: StreamGroupInfo }) {
  const { path } = useView();
  const count = <LiveCount name={`group:${stream}/${name}:dead`} of={deadLetters} />;
  return deadLetters === 0 ? count : <a href={path(deadLettersPath(stream, name))}>{count}</a>;
}
