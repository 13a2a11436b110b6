/** Streams: how far each group has come, who consumes it, and what is kept. */
import type { Request } from 'express';
import { defineStream, type HeldBy, type StreamContract, type StreamGroupInfo, type StreamInfo } from 'millrace';
import { z } from 'zod';
import { needs } from '../access/roles.ts';
import { viewOf, type Page } from '../desk.ts';
import { segment } from '../fleet/links.ts';
import { packageFile } from '../package-files.ts';
import { field, query } from '../view/input.ts';
import { refusePage } from '../view/refuse.tsx';
import { render } from '../view/render.ts';
import { heldText, trimContract } from './keep.tsx';
import { AUDIT_STREAM } from '../audit/audit.ts';
import { findStream, listStreams, secretsOf } from './list.ts';
import { StreamListView } from './list-view.tsx';
import { readNewest } from './newest.ts';
import { RemoveGroup } from './remove-group.tsx';
import { StreamView } from './stream-view.tsx';

const NO_STREAM = 'There is no such stream: nobody has published to it or consumed it under this prefix.';
const NO_GROUP = 'There is no such group. It may have been removed.';

export const streamsPage: Page = {
  path: '/streams',
  title: 'Streams',
  nav: 'Streams',
  needs: 'viewer',
  files: { 'streams-page.css': packageFile('dashboard/streams/styles.css') },
  routes(router, desk) {
    const { platform } = desk;
    router.get('/', async (request, response) => {
      const body = <StreamListView list={await listStreams(desk, request)} />;
      render(response, viewOf(response), { title: 'Streams', active: '/streams', body, scripts: ['live.js'] });
    });
    router.get('/:name', async (request, response) => {
      const view = viewOf(response);
      const info = await findStream(desk, nameOf(request));
      if (!info) return refusePage(response, 404, NO_STREAM);
      const { name } = info;
      // The audit is a stream like any other, but reading it takes an admin.
      const isClosed = name === AUDIT_STREAM && !view.may('admin');
      const newest = isClosed ? undefined : await readNewest(platform, name, secretsOf(desk, info));
      const isTrimmable = trimContract(desk, info) !== undefined;
      render(response, view, {
        title: name,
        active: '/streams',
        body: <StreamView info={info} newest={newest} isTrimmable={isTrimmable} />,
        scripts: ['live.js'],
        styles: ['streams-page.css'],
      });
    });
    router.post('/:name/trim', needs('operator'), async (request, response) => {
      const info = await findStream(desk, nameOf(request));
      const contract = info && trimContract(desk, info);
      if (!contract) return refusePage(response, 404, 'There is no such stream, or nothing of it may be removed.');
      const { removed, heldBy } = await desk.act(
        response,
        { action: 'stream.trim', target: contract.name },
        async (told) => {
          const trimmed = await platform.streams.trim(contract);
          told.count = trimmed.removed;
          return trimmed;
        },
      );
      desk.redirect(response, `/streams/${segment(contract.name)}`, {
        tone: 'good',
        text: trimmedText(removed, heldBy),
      });
    });
    router.get('/:name/remove-group', needs('admin'), async (request, response) => {
      const found = groupOf(await findStream(desk, nameOf(request)), query(request, 'group'));
      if (!found) return refusePage(response, 404, NO_GROUP);
      const body = <RemoveGroup stream={found.info.name} group={found.group} />;
      render(response, viewOf(response), { title: 'Remove a group', active: '/streams', body });
    });
    router.post('/:name/remove-group', needs('admin'), async (request, response) => {
      const found = groupOf(await findStream(desk, nameOf(request)), field(request, 'group'));
      if (!found) return refusePage(response, 404, NO_GROUP);
      const { info, group } = found;
      const force = field(request, 'force') === 'yes';
      const entry = { action: 'stream.remove-group', target: `${info.name}/${group.name}` };
      const { status, said } = await desk.act(response, entry, async (told) => {
        const lost = await platform.streams.removeGroup(anyContract(info.name), group.name, { force });
        told.detail = `${lost.unread} not read, ${lost.pending} pending, ${lost.deadLetters} dead letters, ${lost.consumers} consumers`;
        if (lost.status === 'kept') told.outcome = 'refused';
        return { status: lost.status, said: told.detail };
      });
      if (status === 'kept')
        return refusePage(
          response,
          409,
          `It has something to finish by now (${said}). Look at it again before it goes.`,
        );
      const text =
        status === 'removed' ? `The group ${group.name} is removed.` : `The group ${group.name} was gone already.`;
      desk.redirect(response, `/streams/${segment(info.name)}`, { tone: 'good', text });
      return undefined;
    });
  },
};

function nameOf({ params }: Request): string {
  return String(params['name']);
}

function groupOf(info: StreamInfo | undefined, name: string): { info: StreamInfo; group: StreamGroupInfo } | undefined {
  const group = info?.groups.find((one) => one.name === name);
  return info && group && { info, group };
}

/** For what asks for the stream's name only. */
function anyContract(name: string): StreamContract {
  return defineStream({ name, schema: z.unknown() });
}

function trimmedText(removed: number, heldBy: HeldBy | undefined): string {
  const done = removed === 1 ? '1 entry is removed.' : `${removed.toLocaleString('en-US')} entries are removed.`;
  return heldBy ? `${done} The rest is held back by ${heldText(heldBy)}.` : done;
}
