/** The fleet: worker processes, and what else somebody who runs them looks after. */
import type { Page } from '../desk.ts';
import { packageFile } from '../package-files.ts';
import { Memo } from '../memo.ts';
import { addDoctor } from './doctor.tsx';
import { addLimits } from './limits.tsx';
import { addLocks } from './locks.tsx';
import { addQueues } from './queues.tsx';
import { addSchedules } from './schedules.tsx';
import { addWorkers } from './workers.tsx';

export const fleetPage: Page = {
  path: '/fleet',
  title: 'Fleet',
  nav: 'Fleet',
  needs: 'viewer',
  files: { 'fleet.css': packageFile('dashboard/fleet/styles.css') },
  routes(router, desk) {
    const memo = new Memo();
    addWorkers(router, desk);
    addQueues(router, desk);
    addSchedules(router, desk, memo);
    addLocks(router, desk);
    addLimits(router, desk);
    addDoctor(router, desk, memo);
  },
};
