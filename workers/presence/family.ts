/** Presence, as a worker's process has it: notifications need nothing but Redis, so they are on unless they are turned off. */
import { flag } from '../env-values.ts';
import type { Family } from '../family.ts';
import { createPresenceNotifyHandler, type PresenceNotifyOptions } from '../presence-notify.ts';
import { presenceNotify } from './contract.ts';

/** Options of the presence jobs. */
export interface PresenceSettings {
  /** False turns them off. */
  notify?: PresenceNotifyOptions | false | undefined;
}

export const presenceFamily: Family<PresenceSettings> = {
  prefix: 'PRESENCE',
  variables: { MILLRACE_PRESENCE_NOTIFY: flag },
  settings: (values) => (values['MILLRACE_PRESENCE_NOTIFY'] === false ? { notify: false } : {}),
  parts: ({ notify = {} }) => [
    {
      name: presenceNotify.name,
      needs: 'turned off by MILLRACE_PRESENCE_NOTIFY',
      handler: notify === false ? undefined : createPresenceNotifyHandler(notify),
    },
  ],
};
