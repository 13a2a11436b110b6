/**
 * Tells which tests passed only when they were run again, which `.ci/run` asks for: on a busy machine a test of time or of a failover may lack a moment.
 * Each of them is to be looked at: it needs luck, or it has found what seldom happens.
 */
import type { Reporter, TestCase } from 'vitest/node';

/** Names them when the run has ended. */
export class SecondTries implements Reporter {
  readonly #names: string[] = [];

  onTestCaseResult(test: TestCase): void {
    const { retryCount = 0 } = test.diagnostic() ?? {};
    if (retryCount > 0 && test.ok()) this.#names.push(`${test.module.relativeModuleId} > ${test.fullName}`);
  }

  onTestRunEnd(): void {
    if (this.#names.length === 0) return;
    console.log(`\n${this.#names.length} passed on their second try only:\n${this.#names.join('\n')}`);
  }
}
