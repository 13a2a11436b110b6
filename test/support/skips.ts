/** A test that this machine cannot run says why. */
import type { TestContext } from 'vitest';

/** Skips the test and prints the reason. */
export function skipBecause({ skip, task }: Pick<TestContext, 'skip' | 'task'>, reason: string): never {
  console.log(`skipped "${task.name}": ${reason}`);
  return skip(reason);
}
