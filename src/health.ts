/**
 * Health in two questions. Alive: is this process worth keeping? Ready: can it do its work now?
 *
 * A lost Redis makes a process not ready; it does not make it dead, because a restart would not bring Redis back.
 */

/** The answer to one question. */
export interface Health {
  ok: boolean;
  /** One entry a check; `reason` says what is wrong and is there only when it is. */
  checks: Record<string, { ok: boolean; reason?: string }>;
}

/** Answers with a reason when something is wrong, and with nothing when all is well. */
export type Check = () => Promise<string | undefined>;

/** Runs all checks side by side; a check that throws has failed with what it threw. */
export async function runChecks(checks: Readonly<Record<string, Check>>): Promise<Health> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]) => {
      const reason = await reasonOf(check);
      return [name, reason === undefined ? { ok: true } : { ok: false, reason }] as const;
    }),
  );
  return { ok: results.every(([, { ok }]) => ok), checks: Object.fromEntries(results) };
}

async function reasonOf(check: Check): Promise<string | undefined> {
  try {
    return await check();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
