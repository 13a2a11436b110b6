/** The parts of the fleet, and what all of them are framed in. */
import type { Response } from 'express';
import type { ComponentChildren } from 'preact';
import { viewOf } from '../desk.ts';
import { Tabs } from '../view/components.tsx';
import { render } from '../view/render.ts';

const PARTS = [
  { to: '/fleet', text: 'Workers' },
  { to: '/fleet/queues', text: 'Queues' },
  { to: '/fleet/schedules', text: 'Schedules' },
  { to: '/fleet/locks', text: 'Locks' },
  { to: '/fleet/limits', text: 'Rate limits' },
  { to: '/fleet/doctor', text: 'Doctor' },
] as const;

/** The path of a part. */
export type FleetPath = (typeof PARTS)[number]['to'];

/** Answers with a part of the fleet. */
export function renderFleet(response: Response, active: FleetPath, body: ComponentChildren): void {
  const title = PARTS.find(({ to }) => to === active)?.text ?? '';
  render(response, viewOf(response), {
    title: active === '/fleet' ? 'Fleet' : title,
    active: '/fleet',
    body: (
      <>
        <Tabs label="Parts of the fleet" tabs={PARTS} active={active} />
        {body}
      </>
    ),
    scripts: ['live.js'],
    styles: ['fleet.css'],
  });
}
