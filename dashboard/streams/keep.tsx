/** What becomes of entries that all groups have finished, in plain sentences. */
import type { HeldBy, StreamContract, StreamInfo } from 'millrace';
import { defineStream } from 'millrace';
import { z } from 'zod';
import type { Desk } from '../desk.ts';
import { countText } from '../live/texts.ts';
import { Time } from '../view/components.tsx';
import { durationText } from '../view/values.tsx';

const WHYS: Readonly<Record<HeldBy['why'], string>> = {
  absent: 'was never made',
  unread: 'has not read them',
  pending: 'has not finished them',
};

/** What holds entries back, in a few words. */
export function heldText({ group, why }: HeldBy): string {
  return `${group}, which ${WHYS[why]}`;
}

/** The rule, and what holds it up. */
export function Keep({ info: { kind, keep } }: { info: StreamInfo }) {
  if (kind === 'events') return <p>These are events: they are history, and are kept for ever.</p>;
  if (!keep)
    return (
      <p>No process has told how long its entries are kept. One that publishes or consumes with a contract does.</p>
    );
  return (
    <p>
      {ruleText(keep)} {(keep.count ?? keep.ageMs) !== undefined && <Held heldBy={keep.heldBy} />}
    </p>
  );
}

function ruleText({ count, ageMs }: { count: number | undefined; ageMs: number | undefined }): string {
  const of = 'Entries that all groups have finished are kept';
  if (ageMs === undefined && count === undefined) return 'Its contract sets no bound: entries are kept for ever.';
  if (ageMs === undefined) return `${of} as long as they are among the newest ${countText(count ?? 0)}.`;
  const most = count === undefined ? '' : `, at most the newest ${countText(count)} of them`;
  return `${of} for ${durationText(ageMs)}${most}.`;
}

function Held({ heldBy }: { heldBy: HeldBy | undefined }) {
  if (!heldBy) return <>No group holds back what is beyond that.</>;
  const { group, why, id } = heldBy;
  if (why === 'absent')
    return (
      <strong>
        Nothing goes now: the contract names the group {group}, and nobody has made it yet. Start its consumer.
      </strong>
    );
  const at = Number.parseInt(id ?? '', 10);
  return (
    <strong>
      More are there now, because the group {group} has not {why === 'unread' ? 'read' : 'finished'} what was published{' '}
      {/* A group that has read nothing is at 0. */}
      {at > 0 ? <Time at={at} /> : 'from the first entry on'}.
    </strong>
  );
}

/**
 * What trim() needs to know of a stream; undefined where nothing may be removed.
 *
 * Without the app's own contract it is made of what processes have told: the bounds, and the groups that must be there before anything goes.
 */
export function trimContract({ streams }: Desk, { name, keep, missing }: StreamInfo): StreamContract | undefined {
  const own = streams.find((contract) => contract.name === name);
  if (own) return own;
  if (!keep || (keep.count ?? keep.ageMs) === undefined) return undefined;
  return defineStream({
    name,
    schema: z.unknown(),
    groups: missing,
    keep: { count: keep.count ?? false, age: keep.ageMs ?? false },
  });
}
