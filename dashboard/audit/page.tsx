/** Who did what, for admins. */
import type { Request } from 'express';
import { viewOf, type Page } from '../desk.ts';
import { Badge, Count, Field, Form, Pager, Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { query } from '../view/input.ts';
import { render } from '../view/render.ts';
import type { AuditFilter, AuditLog, AuditPage, AuditRecord } from './audit.ts';

/** The page over an audit. */
export function auditPage(log: () => AuditLog): Page {
  return {
    path: '/audit',
    title: 'Audit',
    nav: 'Audit',
    needs: 'admin',
    routes(router) {
      router.get('/', async (request, response) => {
        const asked = Object.fromEntries(NAMES.map((name) => [name, query(request, name).trim()])) as Asked;
        const page = await log().page(filterOf(asked), query(request, 'before') || undefined);
        render(response, viewOf(response), {
          title: 'Audit',
          active: '/audit',
          body: <Audit asked={asked} page={page} isLater={isLater(request)} />,
        });
      });
    },
  };
}

const NAMES = ['user', 'action', 'from', 'to'] as const;
type Asked = Record<(typeof NAMES)[number], string>;

function isLater(request: Request): boolean {
  return query(request, 'before') !== '';
}

function filterOf({ user, action, from, to }: Asked): AuditFilter {
  return { user: user || undefined, action: action || undefined, from: timeOf(from), to: timeOf(to) };
}

/** What the field gives, `2026-03-01T12:00`, as UTC. */
function timeOf(text: string): number | undefined {
  const at = /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text) ? Date.parse(`${text.slice(0, 16)}Z`) : Number.NaN;
  return Number.isNaN(at) || at < 0 ? undefined : at;
}

function Audit({ asked, page, isLater: isNotFirst }: { asked: Asked; page: AuditPage; isLater: boolean }) {
  const { path } = useView();
  const linkTo = (before?: string): string => {
    const given = Object.entries({ ...asked, before: before ?? '' }).filter(([, value]) => value !== '');
    return `/audit?${new URLSearchParams(given)}`;
  };
  return (
    <>
      <Form to="/audit" method="get" kind="filter">
        <Field label="User" name="user" value={asked.user} />
        <Field label="Action" name="action" value={asked.action} placeholder="queue" />
        <Field label="From (UTC)" name="from" type="datetime-local" value={asked.from} />
        <Field label="To (UTC)" name="to" type="datetime-local" value={asked.to} />
        <button>Filter</button>
        {Object.values(asked).some((value) => value !== '') && (
          <a class="button quiet" href={path('/audit')}>
            Clear
          </a>
        )}
      </Form>
      <Table
        label="Actions"
        rows={page.records}
        rowKey={({ id }) => id}
        empty={page.next === undefined ? 'No action is written down that matches.' : 'None here; there are older ones.'}
        columns={[
          { head: 'When', cell: ({ at }) => <Time at={at} /> },
          { head: 'Who', cell: ({ user, role }) => `${user} (${role})` },
          { head: 'What', isTitle: true, cell: ({ action }) => action },
          { head: 'To what', isProse: true, cell: ({ target }) => target ?? '–' },
          { head: 'How many', align: 'end', cell: ({ count }) => <Count of={count} /> },
          { head: 'Outcome', cell: (record) => <Outcome record={record} /> },
          { head: 'From where', cell: ({ address }) => address },
        ]}
      />
      <Pager
        previous={isNotFirst ? linkTo() : undefined}
        previousText="Newest"
        next={page.next === undefined ? undefined : linkTo(page.next)}
        nextText="Older"
      />
    </>
  );
}

const TONES = { done: 'completed', refused: 'waiting', failed: 'failed' } as const;

function Outcome({ record: { outcome, detail } }: { record: AuditRecord }) {
  return (
    <div>
      <Badge tone={TONES[outcome]}>{outcome}</Badge>
      {detail !== undefined && <div class="hint">{detail}</div>}
    </div>
  );
}
