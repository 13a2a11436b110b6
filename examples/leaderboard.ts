/**
 * A game: scores of matches that are safe to retry, today's best, a player among the neighbours, friends, a daily prize, and a season's end.
 *
 *   node --conditions=millrace-source --import tsx examples/leaderboard.ts      in a checkout
 */
import { createPlatform, readEnv } from 'millrace';
import { z } from 'zod';

const platform = createPlatform({ ...readEnv().platform, log: { level: 'error' } });
await platform.start();

try {
  const game = platform.leaderboards.board('examples.game', {
    policy: 'sum',
    score: { min: 0, max: 1_000, integer: true },
    meta: z.object({ name: z.string() }),
    windows: { daily: { every: 'day', timeZone: 'Europe/Berlin' }, lastWeek: { rolling: '7d', bucket: '1d' } },
  });
  await game.closeSeason(`before ${crypto.randomUUID()}`, { keep: '1m' }); // An earlier run of this example.

  // A match ends. Whoever reports it twice, after a lost answer or a crash, changes nothing: the operation is known.
  const match = crypto.randomUUID();
  const results = ['ada', 'bob', 'cleo', 'dan', 'eve'].map((member, at) => ({
    member,
    score: 100 - 10 * at,
    operation: match,
    meta: { name: member.toUpperCase() },
  }));
  await game.submitMany(results);
  const again = await game.submitMany(results);
  console.log(
    'reported twice, counted once',
    again.every(({ isRepeat }) => isRepeat),
    again[0]?.score,
  );

  const told = await game.submit('dan', 25, { operation: crypto.randomUUID() });
  console.log(`dan had ${told.previous}, has ${told.score}, and is number ${told.rank}`);

  console.log('the top', await game.top(3));
  const around = await game.around('cleo', 1);
  console.log(
    'around cleo',
    around?.entries.map(({ rank, meta }) => `${rank}. ${meta?.name}`),
  );
  console.log(
    'friends of eve',
    (await game.of(['eve', 'bob', 'zoe'])).map(({ member, rank }) => `${member} ${rank}`),
  );
  console.log('eve is better than', await game.percentile('eve'), '% of the others');
  console.log('the last week', (await game.page(1, { window: 'lastWeek', size: 2 })).total);

  // The prize of yesterday, by the server's clock and the window's midnight.
  const [, yesterday] = await game.periods('daily', 2);
  console.log('winners of', yesterday?.id, await game.top(3, { window: 'daily', at: yesterday?.id }));

  const season = await game.closeSeason(`season ${match}`);
  console.log('the season had', season.members, 'members; the new one has', await game.size());
  for await (const { member, score } of game.archive(season.name).export()) console.log(`${member},${score}`);
  await game.deleteArchive(season.name);
} finally {
  await platform.stop();
}
