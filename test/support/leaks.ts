/**
 * After each test nothing may be left open that it opened: sockets, servers, child processes, timers.
 *
 * What stood open before the test (a server of the file's beforeAll) does not count. Closing takes a moment in Node, so the
 * check waits for it; a leak is what stays.
 */
import { afterEach, beforeEach } from 'vitest';
import { eventually } from './eventually.ts';

const WATCHED = new Set([
  'TCPSocketWrap',
  'TCPServerWrap',
  'PipeWrap',
  'PipeServerWrap',
  'TLSWrap',
  'ProcessWrap',
  'FSEvent',
  'Timeout',
]);

let before = new Map<string, number>();

beforeEach(() => {
  before = openResources();
});

afterEach(async () => {
  await eventually(() => {
    for (const [kind, count] of openResources()) {
      const excess = count - (before.get(kind) ?? 0);
      if (excess > 0) throw new Error(`the test left ${excess} ${kind} open`);
    }
  }, 15_000);
});

function openResources(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) {
    if (WATCHED.has(kind)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
}
