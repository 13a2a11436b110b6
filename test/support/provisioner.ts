/** Provisions Redis 8 into a cache folder and tells of it: `provisioner CACHE`. */
import { createLogger } from '../../src/log.ts';
import { isMillraceError } from '../../src/errors.ts';
import { provision, REDIS_8 } from '../../src/redis/embedded/provision.ts';

const [cacheFolder = ''] = process.argv.slice(2);
let lastStep = '';

try {
  const found = await provision(REDIS_8, {
    cacheFolder,
    log: createLogger({ format: 'json', destination: process.stderr }),
    onProgress({ step, percent }) {
      if (step !== lastStep) console.log(`step ${step}`);
      lastStep = step;
      if (percent !== undefined) console.log(`percent ${percent}`);
    },
  });
  console.log(`found ${JSON.stringify(found)}`);
} catch (error) {
  if (!isMillraceError(error)) throw error;
  console.log(`failed ${error.code} ${error.message}`);
}
