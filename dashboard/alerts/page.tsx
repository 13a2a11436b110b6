/** What fires, what is watched, and what happened. */
import { toMs, type Duration } from 'millrace';
import { viewOf, type Desk, type Page } from '../desk.ts';
import { liveOf } from '../live/live.ts';
import { LivePart } from '../live/marks.tsx';
import type { Snapshot } from '../live/snapshot.ts';
import { countText } from '../live/texts.ts';
import { ActionForm, Badge, Empty, Form, Notice, Panel, Select, Button, Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { field } from '../view/input.ts';
import { refusePage } from '../view/refuse.tsx';
import { render } from '../view/render.ts';
import { alertsOf, firingOf, type Alerts } from './alerts.ts';
import type { AlertEvent, Kept } from './book.ts';
import { rulesFile } from './prometheus.ts';
import type { CheckedRule } from './rules.ts';
import { ruleText } from './rule-text.ts';
import { Subject } from './subject.tsx';

const SILENCES = [
  { value: '1h', text: '1 hour' },
  { value: '8h', text: '8 hours' },
  { value: '1d', text: '1 day' },
  { value: '7d', text: '7 days' },
];

export const alertsPage: Page = {
  path: '/alerts',
  title: 'Alerts',
  nav: 'Alerts',
  needs: 'viewer',
  routes(router, desk) {
    const alerts = alertsOf(desk);
    router.get('/', async (_request, response) => {
      const [kept, history] = await Promise.all([alerts.book.read(), alerts.book.history()]);
      const { unjudged } = liveOf(desk).hub.latest ?? {};
      const body = alerts.isOn ? <AlertsView {...{ alerts, kept, history, unjudged }} /> : <Off />;
      render(response, viewOf(response), { title: 'Alerts', active: '/alerts', body, scripts: ['live.js'] });
    });
    router.get('/prometheus.yml', (_request, response) => {
      response.type('text/yaml').attachment('millrace.rules.yml').send(rulesFile(alerts.rules));
    });
    router.post('/acknowledge', async (request, response) => {
      // Before the alert is read: should it end and fire again meanwhile, this is not of the next one.
      const now = await alerts.book.now();
      const { states } = await alerts.book.read();
      const alert = states.get(field(request, 'id'));
      if (alert?.state !== 'firing') return refusePage(response, 404, 'This alert does not fire any more.');
      const { user } = viewOf(response);
      await desk.act(response, { action: 'alert.acknowledge', target: alert.id }, () =>
        alerts.book.acknowledge(alert, { by: user.name, at: Math.max(now, alert.firedAt ?? 0) }),
      );
      desk.redirect(response, '/alerts', {
        tone: 'good',
        text: `You have acknowledged ${alert.rule} of ${alert.subject}.`,
      });
    });
    router.post('/silence', async (request, response) => {
      const [rule, time] = [field(request, 'rule'), field(request, 'for')];
      const words = SILENCES.find(({ value }) => value === time)?.text;
      if (!isRule(desk, rule) || words === undefined)
        return refusePage(response, 400, 'There is no such rule, or it cannot be silenced for so long.');
      await desk.act(response, { action: 'alert.silence', target: rule, detail: `for ${time}` }, async () => {
        const now = await alerts.book.now();
        await alerts.book.silence(rule, { by: viewOf(response).user.name, until: now + toMs(time as Duration) }, now);
      });
      desk.redirect(response, '/alerts', { tone: 'good', text: `Nobody is told of ${rule} for ${words}.` });
    });
    router.post('/unsilence', async (request, response) => {
      const rule = field(request, 'rule');
      if (!isRule(desk, rule)) return refusePage(response, 404, 'There is no such rule.');
      await desk.act(response, { action: 'alert.unsilence', target: rule }, async () =>
        alerts.book.unsilence(rule, viewOf(response).user.name, await alerts.book.now()),
      );
      desk.redirect(response, '/alerts', { tone: 'good', text: `${rule} is told of again.` });
    });
    router.post('/test', async (_request, response) => {
      if (!alerts.isTold) return refusePage(response, 409, 'There is no webhook that could be told.');
      await desk.act(response, { action: 'alert.test' }, () => alerts.test(viewOf(response).user.name));
      desk.redirect(response, '/alerts', {
        tone: 'good',
        text: 'A test notice is on its way. Its job is in the queue millrace.',
      });
    });
    return alerts;
  },
};

function isRule(desk: Desk, name: string): boolean {
  return alertsOf(desk).rules.some((rule) => rule.name === name);
}

function Off() {
  return <Empty>Alerts are off. Leave out `alerts: false` among the options of the dashboard to have them.</Empty>;
}

interface Shown {
  alerts: Alerts;
  kept: Kept;
  history: readonly AlertEvent[];
  unjudged: Snapshot['unjudged'];
}

function AlertsView({ alerts, kept, history, unjudged: { queues, streams } = { queues: 0, streams: 0 } }: Shown) {
  const { path } = useView();
  return (
    <>
      {queues + streams > 0 && (
        <Notice tone="bad">
          {countText(queues)} queues and {countText(streams)} streams are not judged by all of their rules: they could
          not be looked at, or are beyond the first ones. What fired of them still does.
        </Notice>
      )}
      {!alerts.isTold && (
        <Notice>
          Nobody is told of alerts, they only stand here. With <code>MILLRACE_ALERT_WEBHOOK_URL</code>, or the option{' '}
          <code>alerts.webhook</code>, notices are posted to an address of yours.
        </Notice>
      )}
      <Panel title="Firing">
        <LivePart name="firing" when="list:alerts">
          <Firing kept={kept} rules={alerts.rules} />
        </LivePart>
      </Panel>
      <Panel
        title="Rules"
        actions={
          <>
            <a class="button" href={path('/alerts/prometheus.yml')}>
              As a Prometheus rules file
            </a>
            {alerts.isTold && <ActionForm to="/alerts/test" label="Send a test notice" />}
          </>
        }
      >
        <Rules alerts={alerts} kept={kept} />
      </Panel>
      <Panel title="What happened">
        <LivePart name="history" when="list:alerts">
          <History events={history} />
        </LivePart>
      </Panel>
    </>
  );
}

const TONES = { warning: 'waiting', critical: 'failed' } as const;

function Firing({ kept, rules }: { kept: Kept; rules: readonly CheckedRule[] }) {
  return (
    <Table
      label="Alerts that fire"
      rows={firingOf(kept)}
      rowKey={({ id }) => id}
      empty="Nothing fires."
      columns={[
        { head: 'Alert', isTitle: true, cell: ({ rule }) => rule },
        { head: 'Severity', cell: ({ severity }) => <Badge tone={TONES[severity]}>{severity}</Badge> },
        { head: 'Of what', cell: (alert) => <Subject alert={alert} state={kept.states.get(alert.id)} rules={rules} /> },
        { head: 'What was found', isProse: true, cell: ({ text }) => text },
        { head: 'Since', cell: ({ since }) => <Time at={since} /> },
        {
          head: 'Acknowledged',
          cell: ({ id, acknowledgedBy }) =>
            acknowledgedBy === undefined ? (
              <ActionForm to="/alerts/acknowledge" fields={{ id }} label="Acknowledge" />
            ) : (
              `by ${acknowledgedBy}`
            ),
        },
      ]}
    />
  );
}

function Rules({ alerts, kept }: { alerts: Alerts; kept: Kept }) {
  const { now } = useView();
  return (
    <Table
      label="Rules"
      rows={alerts.rules}
      rowKey={({ name }) => name}
      empty="No rule is set."
      columns={[
        { head: 'Rule', isTitle: true, cell: ({ name }) => name },
        { head: 'Severity', cell: ({ severity }) => <Badge tone={TONES[severity]}>{severity}</Badge> },
        { head: 'Fires when', isProse: true, cell: (rule) => ruleText(rule) },
        { head: 'State', cell: (rule) => <RuleState rule={rule} kept={kept} /> },
        {
          head: 'Notices',
          cell: ({ name }) => {
            const silence = kept.silences.get(name);
            return silence && silence.until > now ? <Silenced rule={name} {...silence} /> : <Silence rule={name} />;
          },
        },
      ]}
    />
  );
}

function RuleState({ rule, kept }: { rule: CheckedRule; kept: Kept }) {
  const own = [...kept.states.values()].filter((state) => state.rule === rule.name);
  const firing = own.filter(({ state }) => state === 'firing').length;
  if (firing > 0) return <Badge tone={TONES[rule.severity]}>{`fires (${firing})`}</Badge>;
  if (own.length > 0) return <Badge tone="delayed">{`may fire soon (${own.length})`}</Badge>;
  return <Badge tone="completed">quiet</Badge>;
}

function Silenced({ rule, by, until }: { rule: string; by: string; until: number }) {
  return (
    <div class="actions">
      <span>
        silenced by {by}, ends <Time at={until} />
      </span>
      <ActionForm to="/alerts/unsilence" fields={{ rule }} label="Tell again" />
    </div>
  );
}

function Silence({ rule }: { rule: string }) {
  const { may } = useView();
  if (!may('operator')) return <>told</>;
  return (
    <details class="confirm">
      <summary class="button">Silence</summary>
      <Form to="/alerts/silence" kind="stack">
        <input type="hidden" name="rule" value={rule} />
        <Select label={`Tell nobody of ${rule} for`} name="for" options={SILENCES} />
        <Button>Silence</Button>
      </Form>
    </details>
  );
}

const EVENT_TONES = {
  fired: 'failed',
  resolved: 'completed',
  acknowledged: 'active',
  silenced: 'paused',
  unsilenced: 'active',
} as const;

function History({ events }: { events: readonly AlertEvent[] }) {
  return (
    <Table
      label="What happened to alerts"
      rows={events.slice(0, 100)}
      rowKey={({ at, what, rule, subject = '' }) => `${at} ${what} ${rule} ${subject}`}
      empty="No alert has fired yet."
      columns={[
        { head: 'When', cell: ({ at }) => <Time at={at} /> },
        {
          head: 'What',
          cell: ({ what, by }) => (
            <Badge tone={EVENT_TONES[what]}>{by === undefined ? what : `${what} by ${by}`}</Badge>
          ),
        },
        { head: 'Rule', isTitle: true, cell: ({ rule }) => rule },
        { head: 'Of what', cell: ({ subject }) => subject ?? '' },
        { head: 'What was found', isProse: true, cell: ({ text }) => text ?? '' },
      ]}
    />
  );
}
