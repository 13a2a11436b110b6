/**
 * What it costs to know who a request is from, and to end all sessions of a user: ours against connect-redis. support/session-sides.ts says what
 * each side does.
 */
import { callsPerSecond, type Case, type Side } from './support/measure.ts';
import { benchBinary, pinned, startBenchServer } from './support/server.ts';
import { connectRedisOn, oursOn, type SessionSide } from './support/session-sides.ts';

/** Sessions that are validated in turn. */
const SESSIONS = 1_000;
/** Sessions among which those of one user are ended. */
const OTHERS = 100_000;
const OF_ONE = 10;
const CALLS = { oneByOne: 1_000, inFlight: 5_000 };

/** The cases, and what must be closed after them. */
export async function prepare(): Promise<{ cases: Case[]; close: () => Promise<void> }> {
  const binary = pinned(await benchBinary());
  // Two servers: SCAN would pass by the sessions of the other side, too.
  const servers = [await startBenchServer(binary), await startBenchServer(binary)] as const;
  const ours = await oursOn(servers[0].url);
  const theirs = await connectRedisOn(servers[1].url);
  const users = Array.from({ length: SESSIONS }, (_, index) => `user:${index}`);
  for (const side of [ours, theirs]) await side?.fill(users);

  const against = (measured: (side: SessionSide) => Promise<number>): { ours: Side; theirs: Side | undefined } => ({
    ours: () => measured(ours),
    theirs: theirs && (() => measured(theirs)),
  });
  const filled = new Set<SessionSide>();
  return {
    cases: [
      {
        name: 'validate',
        unit: 'requests/s',
        theirsIs: 'get and touch of connect-redis, one by one',
        rounds: { quick: 9, full: 101 },
        ...against((side) => validations(side, CALLS.oneByOne, 1)),
      },
      {
        name: 'validate-in-flight',
        unit: 'requests/s',
        theirsIs: 'get and touch of connect-redis, 100 in flight',
        rounds: { quick: 9, full: 101 },
        ...against((side) => validations(side, CALLS.inFlight, 100)),
      },
      {
        name: 'revoke-all',
        unit: 'ms',
        lessIsBetter: true,
        theirsIs: `${OF_ONE} sessions of a user among ${OTHERS}: all() of connect-redis, which is SCAN, and destroy()`,
        rounds: { quick: 3, full: 21 },
        ...against(async (side) => {
          if (!filled.has(side)) await side.fill(Array.from({ length: OTHERS }, (_, index) => `other:${index}`));
          filled.add(side);
          return revocationMs(side);
        }),
      },
    ],
    async close() {
      await theirs?.close();
      await ours.close();
      for (const server of servers) await server.stop();
    },
  };
}

function validations(side: SessionSide, count: number, inFlight: number): Promise<number> {
  let next = 0;
  return callsPerSecond(count, inFlight, () => side.validate(next++ % SESSIONS));
}

async function revocationMs(side: SessionSide): Promise<number> {
  await side.fill(Array.from({ length: OF_ONE }, () => 'one'));
  const start = performance.now();
  const ended = await side.revokeAll('one');
  const ms = performance.now() - start;
  if (ended !== OF_ONE) throw new Error(`${ended} sessions have ended in the place of ${OF_ONE}`);
  return ms;
}
