/**
 * A worker for `report.export` in a process of its own: `report-process REDIS PREFIX FOLDER FATE`. Its report is that of report-scene.ts. With the fate
 * `slow` it says `row N` for each row and waits a little; with `published` it kills itself when the file has its name, before that is stored.
 */
import { watch } from 'node:fs';
import { createPlatform, systemClock } from '../../src/index.ts';
import { createReportHandler } from '../../workers/index.ts';
import { numbers } from './report-scene.ts';

const [url = '', prefix = '', folder = '', fate] = process.argv.slice(2);
const platform = createPlatform({ redis: { url }, prefix, log: { level: 'error' } });
const reports = numbers(2_000, async (row) => {
  if (fate !== 'slow' || row % 100 !== 0) return;
  console.log(`row ${row}`);
  await systemClock.sleep(20);
});
await platform.start();
const handler = createReportHandler({ reports, folder, pieceBytes: 4_000, lease: '1s' });
if (fate === 'published')
  watch(folder, (_event, name) => {
    if (name?.endsWith('.csv')) process.kill(process.pid, 'SIGKILL');
  });
await platform.work({ lease: '1s', stalledCheck: '500ms', handlers: [handler] });
console.log('ready');
