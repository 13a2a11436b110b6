/** Locks that are held or waited for, and the way to take one from a holder that is gone. */
import type { Router } from 'express';
import type { ListedLock, LockInspection, LockListing } from 'millrace';
import { needs } from '../access/roles.ts';
import type { Desk } from '../desk.ts';
import { Badge, Button, Count, Duration, Form, Notice, Pager, Panel, Stat, Stats, Table } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { field, query } from '../view/input.ts';
import { refusePage } from '../view/refuse.tsx';
import { linkTo } from './links.ts';
import { renderFleet } from './tabs.tsx';

const PATH = '/fleet/locks';
const PAGE_SIZE = 50;
const SHOWN_WAITERS = 10;
const CURSOR = /^[^/]{0,300}\/\d{1,20}$/;

export function addLocks(router: Router, desk: Desk): void {
  const { locks } = desk.platform;
  router.get('/locks', async (request, response) => {
    const asked = query(request, 'cursor');
    const cursor = CURSOR.test(asked) ? asked : undefined;
    const listing = await locks.list({ limit: PAGE_SIZE, cursor });
    renderFleet(response, PATH, <Locks listing={listing} isFirst={cursor === undefined} />);
  });
  router.get('/locks/release', needs('admin'), async (request, response) => {
    renderFleet(response, PATH, <Release lock={await locks.inspect(query(request, 'name'))} />);
  });
  router.post('/locks/release', needs('admin'), async (request, response) => {
    const [name, token] = [field(request, 'name'), field(request, 'token')];
    const { holder } = await locks.inspect(name);
    if (!holder) return desk.redirect(response, PATH, { tone: 'plain', text: `Nobody held ${name} any more.` });
    const { owner } = holder;
    if (String(holder.token) !== token)
      return refusePage(response, 409, 'By now somebody else holds it. Look at it again before you take it away.');
    const entry = { action: 'lock.release', target: name, detail: `held by ${owner}` };
    const wasHeld = await desk.act(response, entry, async (told) => {
      const isTaken = await locks.forceRelease(name, { token: holder.token });
      told.count = isTaken ? 1 : 0;
      return isTaken;
    });
    const text = wasHeld ? `${name} is taken from ${owner}.` : `${owner} did not hold ${name} any more.`;
    desk.redirect(response, PATH, { tone: wasHeld ? 'good' : 'plain', text });
    return undefined;
  });
}

function Locks({ listing: { locks, isWhole, cursor }, isFirst }: { listing: LockListing; isFirst: boolean }) {
  return (
    <>
      <p>Mutexes, semaphores and read-write locks that are held or waited for now; those first for which most wait.</p>
      <Table
        label="Locks"
        rows={locks}
        rowKey={({ kind, name }) => `${kind} ${name}`}
        empty={emptyText(isFirst, isWhole)}
        columns={[
          { head: 'Lock', isTitle: true, cell: ({ name }) => name },
          { head: 'Kind', cell: ({ kind }) => kind },
          { head: 'Held by', cell: (lock) => <Holders lock={lock} /> },
          { head: 'Waiting', align: 'end', cell: ({ waiting }) => <Count of={waiting} /> },
          { head: 'Actions', cell: (lock) => <ReleaseLink lock={lock} /> },
        ]}
      />
      <Pager
        previous={isFirst ? undefined : PATH}
        previousText="First"
        next={cursor === undefined ? undefined : linkTo(PATH, { cursor })}
        nextText="More"
      />
    </>
  );
}

function emptyText(isFirst: boolean, isWhole: boolean): string {
  if (!isWhole) return 'None among the keys that were looked at. There are more keys.';
  return isFirst ? 'No lock is held or waited for now.' : 'There are no more.';
}

function Holders({ lock: { holders, holding } }: { lock: ListedLock }) {
  if (holding === 0) return <Badge>free, not yet taken</Badge>;
  return (
    <ul class="lines">
      {holders.map(({ owner, token, mode, permits, heldMs, remainingMs, confirmed }) => (
        <li key={token}>
          {owner}
          {mode !== 'exclusive' && ` (${mode === 'permits' ? `${permits} permits` : mode})`}
          <div class="hint">
            for <Duration ms={heldMs} />, lease ends in <Duration ms={remainingMs} />
            {!confirmed && ', was handed it and has not said that it took it'}
          </div>
        </li>
      ))}
      {holding > holders.length && <li>and {holding - holders.length} more</li>}
    </ul>
  );
}

function ReleaseLink({ lock: { name, kind, holding } }: { lock: ListedLock }) {
  const { path, may } = useView();
  if (!may('admin') || kind !== 'mutex' || holding === 0) return null;
  return (
    <a class="button danger" href={path(linkTo(`${PATH}/release`, { name }))}>
      Take it away
    </a>
  );
}

function Release({ lock: { name, holder, waiting, waiters } }: { lock: LockInspection }) {
  const { path } = useView();
  if (!holder)
    return (
      <Panel title={`Take ${name} away?`}>
        <Notice>Nobody holds it now.</Notice>
        <a href={path(PATH)}>All locks</a>
      </Panel>
    );
  const { owner, token, heldMs, remainingMs } = holder;
  return (
    <Panel title={`Take ${name} away from ${owner}?`}>
      <Stats>
        <Stat label="Held for">
          <Duration ms={heldMs} />
        </Stat>
        <Stat label="Lease ends in">
          <Duration ms={remainingMs} />
        </Stat>
        <Stat label="Waiting for it">
          <Count of={waiting} />
        </Stat>
      </Stats>
      <Notice tone="bad">
        {owner} may still be at work. It is told to stop, but until it hears of it two do the same at once, and what
        they write can be lost or doubled unless the store compares tokens. Do it only if you know that the process is
        gone or stuck. A process that is gone loses the lock by itself once its lease ends.
      </Notice>
      {waiting > 0 && (
        <p>
          Next in line:{' '}
          {waiters
            .slice(0, SHOWN_WAITERS)
            .map((waiter) => waiter.owner)
            .join(', ')}
          {waiting > SHOWN_WAITERS && ` and ${waiting - SHOWN_WAITERS} more`}.
        </p>
      )}
      <Form to={`${PATH}/release`} needs="admin">
        <input type="hidden" name="name" value={name} />
        <input type="hidden" name="token" value={token} />
        <div class="actions">
          <Button tone="danger">Take it away</Button>
          <a class="button" href={path(PATH)}>
            Leave it
          </a>
        </div>
      </Form>
    </Panel>
  );
}
