/** Dead letters of streams: the groups that have some, those of one group, one of them. */
import type { Response, Router } from 'express';
import { viewOf, type Desk } from '../../desk.ts';
import { query } from '../../view/input.ts';
import { refusePage } from '../../view/refuse.tsx';
import { render } from '../../view/render.ts';
import { shownStreamLetter } from '../../view/secrets.ts';
import { ENTRY_ID, filterBy, groupOf, infoOf, visibleStreams } from './group.ts';
import { GroupLetters, GroupList, StreamLetter, type GroupRow } from './pages.tsx';

const PAGE_SIZE = 50;
/** More streams than a page can ask for at once; the streams page has all of them. */
const MOST_STREAMS = 200;
const GONE = 'There is no such dead letter. It may have been redriven or discarded.';

export function addStreamLetters(router: Router, desk: Desk): void {
  router.get('/streams', async (_request, response) => {
    const names = await visibleStreams(desk, response);
    const infos = await Promise.all(names.slice(0, MOST_STREAMS).map((name) => infoOf(desk, name)));
    const rows: GroupRow[] = infos.flatMap((info) =>
      (info?.groups ?? []).map(({ name: group, deadLetters }) => ({ stream: info?.name ?? '', group, deadLetters })),
    );
    const left = Math.max(0, names.length - MOST_STREAMS);
    show(response, 'Dead letters of streams', <GroupList rows={rows} leftOut={left} />);
  });

  router.get('/streams/:stream/:group', async (request, response) => {
    const found = await groupOf(desk, request, response);
    if (!found) return refusePage(response, 404, 'There is no such group.');
    const { stream, group, letters, secrets } = found;
    const cursor = query(request, 'cursor');
    if (cursor !== '' && !ENTRY_ID.test(cursor))
      return refusePage(response, 400, 'This page of the list is not known. Begin with the first.');
    const filter = filterBy((name) => query(request, name));
    const { cursor: next, letters: listed } = await letters.list({
      ...filter,
      limit: PAGE_SIZE,
      cursor: cursor || undefined,
    });
    const page = { letters: listed.map((letter) => shownStreamLetter(letter, secrets)), cursor: next };
    const shown = { stream, group, filter, page, isFirst: cursor === '' };
    show(response, `Dead letters of ${stream}, ${group}`, <GroupLetters {...shown} />);
  });

  router.get('/streams/:stream/:group/:id', async (request, response) => {
    const found = await groupOf(desk, request, response);
    const id = request.params.id;
    const letter = found && ENTRY_ID.test(id) ? await found.letters.get(id) : undefined;
    if (!found || !letter) return refusePage(response, 404, GONE);
    show(response, `Dead letter ${id}`, <StreamLetter letter={shownStreamLetter(letter, found.secrets)} />);
  });
}

function show(response: Response, title: string, body: preact.JSX.Element): void {
  render(response, viewOf(response), { title, active: '/dead-letters', styles: ['dead-letters.css'], body });
}
