/** Schedules: when each ran last and runs next, what it has missed, and a run now. */
import type { Router } from 'express';
import type { RunStatus, ScheduleInfo } from 'millrace';
import { needs } from '../access/roles.ts';
import type { Desk } from '../desk.ts';
import type { Memo } from '../memo.ts';
import { ActionForm, Badge, Button, Count, Field, Form, Notice, Table, Time } from '../view/components.tsx';
import { useView } from '../view/context.ts';
import { field, query } from '../view/input.ts';
import { durationText, type Tone } from '../view/values.tsx';
import { segment } from './links.ts';
import { partOf, PartPager, type Part } from './part.tsx';
import { renderFleet } from './tabs.tsx';

const PATH = '/fleet/schedules';
/** Looking at a schedule takes Redis a few commands, and all of them are looked at. */
const GOOD_FOR_MS = 2_000;
/** A tick is seen to within a second or so; what is later than this waits for a worker. */
const OVERDUE_MS = 15_000;

export function addSchedules(router: Router, desk: Desk, memo: Memo): void {
  const { schedules } = desk.platform;
  router.get('/schedules', async (request, response) => {
    const text = query(request, 'text').trim().slice(0, 100);
    const all = await memo.get('schedules', () => schedules.list(), GOOD_FOR_MS);
    const part = partOf(
      all.filter((one) => isAbout(one, text.toLowerCase())),
      request,
    );
    renderFleet(response, PATH, <Schedules all={all} part={part} text={text} />);
  });
  router.post('/schedules/run', needs('operator'), async (request, response) => {
    const target = field(request, 'id');
    const id = await desk.act(response, { action: 'schedule.run', target }, async (told) => {
      const run = await schedules.run(target);
      told.detail = `as job ${run.id}`;
      return run.id;
    });
    memo.clear();
    desk.redirect(response, PATH, { tone: 'good', text: `${target} runs now, as the job ${id}.` });
  });
}

function isAbout({ id, contract, queue }: ScheduleInfo, text: string): boolean {
  return [id, contract, queue].some((name) => name.toLowerCase().includes(text));
}

function Schedules({ all, part, text }: { all: readonly ScheduleInfo[]; part: Part<ScheduleInfo>; text: string }) {
  const overdue = all.filter(isOverdue).length;
  return (
    <>
      {overdue > 0 && (
        <Notice tone="bad">
          {overdue === 1 ? 'One schedule is' : `${overdue} schedules are`} overdue: no worker sees to the schedules now.
        </Notice>
      )}
      <Form to={PATH} method="get" kind="filter">
        <Field label="Schedule, contract or queue" name="text" type="search" value={text} />
        <Button>Filter</Button>
      </Form>
      <Table
        label="Schedules"
        rows={part.rows}
        rowKey={({ id }) => id}
        empty={
          all.length === 0
            ? 'No schedule is declared. Declare one with schedule(), and pass it to platform.work().'
            : 'No schedule is about this.'
        }
        columns={[
          { head: 'Schedule', isTitle: true, cell: (info) => <Name info={info} /> },
          { head: 'Runs', cell: timingText },
          { head: 'Last run', cell: (info) => <LastRun info={info} /> },
          { head: 'Next run', cell: (info) => <NextRun info={info} /> },
          { head: 'Missed', align: 'end', cell: (info) => <Missed info={info} /> },
          { head: 'Late', align: 'end', cell: ({ late }) => <Count of={late} /> },
          { head: 'Actions', cell: (info) => <RunNow info={info} /> },
        ]}
      />
      <PartPager part={part} of="schedules" path={PATH} parameters={{ text }} />
    </>
  );
}

function Name({ info: { id, contract, queue } }: { info: ScheduleInfo }) {
  return (
    <>
      {id}
      <div class="hint">
        {contract === id ? '' : `${contract}, `}queue {queue}
      </div>
    </>
  );
}

/** When it ticks, in words. */
function timingText({ cron, timeZone, everyMs = 0, offsetMs = 0 }: ScheduleInfo): string {
  if (cron !== undefined) return timeZone === undefined ? cron : `${cron} (${timeZone})`;
  const every = `every ${durationText(everyMs)}`;
  return offsetMs === 0 ? every : `${every}, moved by ${durationText(offsetMs)}`;
}

const TONES: Readonly<Record<RunStatus, Tone>> = {
  waiting: 'waiting',
  active: 'active',
  delayed: 'delayed',
  prioritized: 'prioritized',
  'waiting-children': 'waiting-children',
  completed: 'completed',
  failed: 'failed',
  dead: 'failed',
  cancelled: 'paused',
  unknown: 'plain',
};

function LastRun({ info: { lastRunAt, lastRunId, lastRunStatus } }: { info: ScheduleInfo }) {
  const { path } = useView();
  if (lastRunAt === undefined || lastRunId === undefined) return <Badge>never</Badge>;
  if (lastRunStatus === undefined || lastRunStatus === 'unknown') return <Time at={lastRunAt} />;
  return (
    <span>
      <a href={path(`/jobs/${segment(lastRunId)}`)}>
        <Time at={lastRunAt} />
      </a>{' '}
      <Badge tone={TONES[lastRunStatus]}>{lastRunStatus === 'dead' ? 'dead letter' : lastRunStatus}</Badge>
    </span>
  );
}

function NextRun({ info }: { info: ScheduleInfo }) {
  return (
    <span>
      <Time at={info.nextRunAt} /> {isOverdue(info) && <Badge tone="failed">overdue</Badge>}
    </span>
  );
}

function isOverdue({ overdueMs }: ScheduleInfo): boolean {
  return overdueMs > OVERDUE_MS;
}

function Missed({ info: { missed, lastMissedAt } }: { info: ScheduleInfo }) {
  if (lastMissedAt === undefined) return <Count of={missed} />;
  return (
    <span>
      <Count of={missed} />, last <Time at={lastMissedAt} />
    </span>
  );
}

function RunNow({ info: { id, contract } }: { info: ScheduleInfo }) {
  const meaning = `A job of ${contract} is enqueued at once, beside those of its ticks.`;
  return <ActionForm to={`${PATH}/run`} fields={{ id }} label="Run now" confirm={meaning} />;
}
