/** The long form of the fault tests: `npm run test:faults`. The short one is a part of `npm test`. */
import { defineConfig } from 'vitest/config';
import common from '../vitest.config.ts';

// eslint-disable-next-line import/no-default-export -- vitest reads the default export.
export default defineConfig({
  ...common,
  test: {
    ...common.test,
    include: ['test/faults/*.test.ts'],
    env: { FAULTS: 'long' },
    // One after the other: each of them keeps two cores busy, and a worker that gets no time loses its leases too.
    fileParallelism: false,
    reporters: ['verbose'],
  },
});
