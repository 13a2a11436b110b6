/** Whether Redis can be worked with now: all slots of a Cluster are served, and a script's write passes. */
import { withDeadline } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import { checkAllSlots } from './cluster-state.ts';
import type { Connections } from './connect.ts';
import { probeServer } from './probe.ts';

const WITHIN_MS = 1_000;

/** @throws what is wrong with Redis, within a second */
export async function checkReadiness(connections: Connections, prefix: string): Promise<void> {
  const late = (): Error =>
    new MillraceError('REDIS_TIMEOUT', `Redis at ${connections.label}: no answer in ${WITHIN_MS} ms`, {});
  try {
    await withDeadline(
      checkAllSlots(connections).then(() => probeServer(connections, prefix)),
      WITHIN_MS,
      late,
    );
  } catch (error) {
    throw connections.outage() ?? error; // Why there is no connection says more than that a command waited for one in vain.
  }
}

/** So that no first call with a short deadline has to wait for a connection. What is wrong by now, checkReadiness() tells. */
export async function warmUp(connections: Connections): Promise<void> {
  await connections
    .commands()
    .ping()
    .catch(() => undefined);
}
