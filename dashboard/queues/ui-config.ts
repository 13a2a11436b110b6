/** How Bull Board looks: in our colours, and without links to other hosts but its own note of its release. */
import type { UIConfig } from '@bull-board/api/typings/app';
import { DARK, LIGHT } from '../view/theme.ts';
import { MOST_SHOWN } from './known-queues.ts';

/** What is the same for all. */
export const UI_CONFIG: UIConfig = {
  boardTitle: 'Queues',
  // Our name stands in the bar.
  boardLogo: { path: 'data:image/svg+xml,%3Csvg xmlns=%22http://www.w3.org/2000/svg%22/%3E', width: 0, height: 0 },
  favIcon: { default: 'data:,', alternative: 'data:,' },
  hideDocsLink: true,
  locale: { lng: 'en-US' },
  overview: { groupByDelimiter: true },
  showMetrics: true,
  sortQueues: true,
  theme: { light: { ...LIGHT }, dark: { ...DARK } },
};

/** Where queues are many, the board asks for them less often. `total` is how many there are. */
export function uiConfigOf(total: number): UIConfig {
  return {
    ...UI_CONFIG,
    pollingInterval: total > MOST_SHOWN ? { forceInterval: 15, showSetting: false } : { showSetting: true },
  };
}
