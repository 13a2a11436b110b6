/** Keys that are near the edge of their rate limits, or were refused. */
import type { Router } from 'express';
import type { EdgeKey } from 'millrace';
import type { Desk } from '../desk.ts';
import { Button, Count, Field, Form, Notice, Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { query } from '../view/input.ts';
import { partOf, PartPager, type Part } from './part.tsx';
import { renderFleet } from './tabs.tsx';

const PATH = '/fleet/limits';

export function addLimits(router: Router, { platform }: Desk): void {
  router.get('/limits', async (request, response) => {
    const limiter = query(request, 'limiter').trim().slice(0, 100);
    const all = await platform.limits.nearEdge();
    const part = partOf(
      all.filter((one) => one.limiter.includes(limiter)),
      request,
    );
    renderFleet(response, PATH, <Limits part={part} limiter={limiter} isNone={all.length === 0} />);
  });
}

function Limits({ part, limiter, isNone }: { part: Part<EdgeKey>; limiter: string; isNone: boolean }) {
  const { may } = useView();
  return (
    <>
      <p>
        Keys that were refused, or have used more than 80 % of a limit, in the last five minutes; those first that were
        refused most. To let one in again, call reset() of its limiter with the key, in the app that has its policies.
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
        ]}
      />
      <PartPager part={part} of="keys" path={PATH} parameters={{ limiter }} />
    </>
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
