/** All pages, in the order of the navigation. */
import { alertsPage } from './alerts/page.tsx';
import { deadLettersPage } from './dead-letters/page.tsx';
import type { Page } from './desk.ts';
import { fleetPage } from './fleet/page.tsx';
import { jobsPage } from './jobs/page.tsx';
import { chartsPage } from './live/charts-page.tsx';
import { livePage } from './live/page.ts';
import { overviewPage } from './overview/page.tsx';
import { queuesPage } from './queues/page.tsx';
import { streamsPage } from './streams/page.tsx';

/** The audit comes after them: it is made of the dashboard's own log. */
export const PAGES: readonly Page[] = [
  overviewPage,
  chartsPage,
  queuesPage,
  deadLettersPage,
  jobsPage,
  streamsPage,
  fleetPage,
  alertsPage,
  livePage,
];
