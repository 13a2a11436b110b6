import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { SecondTries } from './support/second-tries.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

// eslint-disable-next-line import/no-default-export -- vitest reads the default export.
export default defineConfig({
  root,
  resolve: { conditions: ['millrace-source'] },
  ssr: { resolve: { conditions: ['millrace-source'] } },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['test/support/leaks.ts'],
    // Real servers start and fail over in these tests; on two busy cores half a minute is no sign of a fault.
    testTimeout: 90_000,
    hookTimeout: 90_000,
    pool: 'forks',
    // The files of a worker share what they import: 300 files would each load all of it anew, for a third of the time that the tests take.
    isolate: false,
    // The tests wait more than they reckon: for servers to start, to fail over, to be given up on.
    maxWorkers: 5,
    // Once, and told of.
    retry: process.env['TEST_RETRY'] === undefined ? 0 : 1,
    reporters: ['default', new SecondTries()],
  },
});
