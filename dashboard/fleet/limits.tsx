/** Keys that are near the edge of their rate limits, or were refused, and the ways to let one in again. */
import type { Request, Router } from 'express';
import type { EdgeKey } from 'millrace';
import { needs } from '../access/roles.ts';
import type { Desk } from '../desk.ts';
import { ActionForm, Button, Count, Field, Form, Notice, Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { field, query } from '../view/input.ts';
import { linkTo } from './links.ts';
import { partOf, PartPager, type Part } from './part.tsx';
import { renderFleet } from './tabs.tsx';

const PATH = '/fleet/limits';

export function addLimits(router: Router, desk: Desk): void {
  const { limits } = desk.platform;
  router.get('/limits', async (request, response) => {
    const limiter = query(request, 'limiter').trim().slice(0, 100);
    const all = await limits.nearEdge();
    const part = partOf(
      all.filter((one) => one.limiter.includes(limiter)),
      request,
    );
    renderFleet(response, PATH, <Limits part={part} limiter={limiter} isNone={all.length === 0} />);
  });
  for (const verb of ['reset', 'unblock'] as const) {
    router.post(`/limits/${verb}`, needs('operator'), async (request, response) => {
      const [limiter, key] = [field(request, 'limiter'), field(request, 'key')];
      const isShown = (await limits.nearEdge()).some((edge) => edge.limiter === limiter && edge.key === key);
      if (!isShown) return desk.redirect(response, backOf(request), { tone: 'plain', text: NOT_HEARD_OF });
      const isDone = await desk.act(
        response,
        { action: `limit.${verb}`, target: `${limiter} ${key}` },
        async (told) => {
          const done = await limits[verb](limiter, key);
          told.count = done ? 1 : 0;
          return done;
        },
      );
      desk.redirect(response, backOf(request), isDone ? { tone: 'good', text: DONE[verb] } : NOTHING_DONE);
    });
  }
}

const DONE = {
  reset: 'What the key had used is forgotten, and it is let in again.',
  unblock: 'The key is not blocked any more.',
} as const;
const NOT_HEARD_OF = 'Nothing has been heard of this key for five minutes, so it is not listed any more.';
const NOTHING_DONE = { tone: 'plain', text: 'There was nothing to end any more.' } as const;

/** The same part of the list as before. */
function backOf(request: Request): string {
  return linkTo(PATH, { limiter: field(request, 'filter').slice(0, 100), page: field(request, 'page').slice(0, 10) });
}

function Limits({ part, limiter, isNone }: { part: Part<EdgeKey>; limiter: string; isNone: boolean }) {
  const { may } = useView();
  return (
    <>
      <p>
        Keys that were refused, or have used more than 80 % of a limit, in the last five minutes; those first that were
        refused most. A reset forgets what a key has used, so that it is let in again at once.
      </p>
      {!may('operator') && !isNone && (
        <Notice>Keys can be addresses or names of people, so operators see them only.</Notice>
      )}
      <Form to={PATH} method="get" kind="filter">
        <Field label="Limiter" name="limiter" type="search" value={limiter} />
        <Button>Filter</Button>
      </Form>
      <Table
        label="Keys near the edge"
        rows={part.rows}
        rowKey={(edge) => `${edge.limiter}/${edge.key}`}
        empty={
          isNone
            ? 'No key is near the edge of its limits. Limiters with `watch: false` are not told of here.'
            : 'No such limiter has a key near its edge.'
        }
        columns={[
          { head: 'Key', isTitle: true, cell: ({ key }) => (may('operator') ? key : 'not shown') },
          { head: 'Limiter', cell: (edge) => edge.limiter },
          { head: 'Policy', cell: ({ policy }) => policy },
          { head: 'Used', align: 'end', cell: ({ used }) => <Used share={used} /> },
          { head: 'Refused, about', align: 'end', cell: ({ refused }) => <Count of={refused} /> },
          { head: 'Since', cell: ({ since }) => <Time at={since} /> },
          { head: 'Last', cell: ({ seenAt }) => <Time at={seenAt} /> },
          ...(may('operator')
            ? [{ head: 'Actions', cell: (edge: EdgeKey) => <Acts edge={edge} filter={limiter} page={part.page} /> }]
            : []),
        ]}
      />
      <PartPager part={part} of="keys" path={PATH} parameters={{ limiter }} />
    </>
  );
}

function Acts({ edge: { limiter, key, policy }, filter, page }: { edge: EdgeKey; filter: string; page: number }) {
  const fields = { limiter, key, filter, page };
  return (
    <div class="actions">
      {policy === 'block' && (
        <ActionForm
          to={`${PATH}/unblock`}
          fields={fields}
          label="Unblock"
          confirm={`${key} is let in again as far as the policies of ${limiter} go: what it took before counts on.`}
        />
      )}
      <ActionForm
        to={`${PATH}/reset`}
        fields={fields}
        label="Reset"
        confirm={`All that ${key} has used of ${limiter} is forgotten, and a block of it ends. Its next calls are let in.`}
      />
    </div>
  );
}

function Used({ share }: { share: number }) {
  const percent = `${Math.round(share * 100)} %`;
  return (
    <span class="used">
      <meter min={0} max={1} low={0.8} high={0.95} optimum={0} value={share} aria-label={percent} />
      <span class="number">{percent}</span>
    </span>
  );
}
