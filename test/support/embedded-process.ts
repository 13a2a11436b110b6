/** Uses the embedded Redis of a folder until SIGTERM, and tells of it: `embedded-process '{"folder":...,"cacheFolder":...}'`. */
import { createLogger } from '../../src/log.ts';
import { isMillraceError } from '../../src/errors.ts';
import { startEmbedded, type EmbeddedOptions } from '../../src/redis/embedded/embedded.ts';

const options = JSON.parse(process.argv[2] ?? '{}') as Omit<EmbeddedOptions, 'log'>;

try {
  const embedded = await startEmbedded({
    ...options,
    log: createLogger({ format: 'json', destination: process.stderr }),
    onProgress: ({ step }) => console.log(`step ${step}`),
  });
  process.on('SIGTERM', () => void embedded.stop().then(() => process.exit(0)));
  setInterval(() => undefined, 60_000); // A guest would have nothing to wait for.
  const { url, port, isOwner } = embedded;
  console.log(`${isOwner ? 'owner' : 'guest'} ${JSON.stringify({ url, port })}`);
} catch (error) {
  if (!isMillraceError(error)) throw error;
  console.log(`failed ${error.code} ${error.message}`);
}
