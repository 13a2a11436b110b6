/**
 * What a score costs that counts for three boards, against redis-rank; and what readings of a board of a million cost, against the bare
 * client. support/leaderboard-sides.ts says what each side does.
 */
import { memberAt, oursOn, rawOn, redisRankOn, type ReadSide, type SubmitSide } from './support/leaderboard-sides.ts';
import { callsPerSecond, type Case } from './support/measure.ts';
import { benchBinary, pinned, startBenchServer } from './support/server.ts';

const MEMBERS = 1_000_000;
/** Of the boards that are written to. */
const PLAYERS = 20_000;
const EACH = 10;
const TOP = 100;

/** The cases, and what must be closed after them. */
export async function prepare(): Promise<{ cases: Case[]; close: () => Promise<void> }> {
  const server = await startBenchServer(pinned(await benchBinary()));
  const ours = await oursOn(server.url);
  const redisRank = await redisRankOn(server.url);
  const raw = rawOn(server.url);
  await Promise.all([ours.load(MEMBERS), raw.load(MEMBERS)]);
  return {
    cases: [
      {
        name: 'submit',
        unit: 'scores/s',
        theirsIs: 'updateOne of redis-rank on three boards at once, then rank on one; 100 in flight',
        rounds: { quick: 5, full: 31 },
        ours: submits(ours),
        theirs: redisRank && submits(redisRank),
      },
      {
        name: 'top-100',
        unit: 'readings/s',
        theirsIs: 'ZREVRANGE WITHSCORES of the bare client; 100 in flight',
        rounds: { quick: 7, full: 41 },
        ours: tops(ours),
        theirs: tops(raw),
      },
      {
        name: 'around',
        unit: 'readings/s',
        theirsIs: 'one EVALSHA of the bare client, which knows no ranks of the others; 100 in flight',
        rounds: { quick: 7, full: 41 },
        ours: arounds(ours),
        theirs: arounds(raw),
      },
    ],
    async close() {
      for (const side of [raw, redisRank, ours]) await side?.close();
      await server.stop();
    },
  };
}

function submits(side: SubmitSide): () => Promise<number> {
  let next = 0;
  return () =>
    callsPerSecond(4_000, 100, async () => {
      const index = next++;
      const rank = await side.submit(memberAt((index * 7_919) % PLAYERS), (index * 104_729) % 1_000_003);
      if (rank < 1) throw new Error('a score without a rank');
    });
}

function tops(side: ReadSide): () => Promise<number> {
  return () =>
    callsPerSecond(1_500, 100, async () => {
      if ((await side.top(TOP)) !== TOP) throw new Error('not the whole top');
    });
}

/** Of members all over the board. */
function arounds(side: ReadSide): () => Promise<number> {
  let next = 0;
  return () =>
    callsPerSecond(3_000, 100, async () => {
      const came = await side.around(memberAt((next++ * 104_729) % MEMBERS), EACH);
      // At the end of a board, the bare client's script does not fill up.
      if (came < EACH + 1) throw new Error('not all who are around');
    });
}
