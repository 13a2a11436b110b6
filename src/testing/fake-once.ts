/** once() without Redis: what is kept of the effects of one job, in the form in which Redis keeps it. */
import { MillraceError } from '../errors.ts';

/** The results of effects as JSON, by their keys; an effect without a result is the empty text. */
export type StoredEffects = Map<string, string>;

const LONGEST_KEY = 1_000;

/** The effects of one attempt. */
export class FakeOnce {
  /** The keys of the effects that this attempt ran, in order. */
  readonly ran: string[] = [];
  readonly #jobId: string;
  readonly #stored: StoredEffects;
  readonly #mayStore: () => boolean;
  readonly #running = new Map<string, Promise<unknown>>();

  /** @param mayStore says whether the attempt still holds its job's lease. */
  constructor(jobId: string, stored: StoredEffects, mayStore: () => boolean) {
    this.#jobId = jobId;
    this.#stored = stored;
    this.#mayStore = mayStore;
  }

  run<T>(key: string, effect: () => Promise<T> | T): Promise<T> {
    const running = this.#running.get(key);
    if (running) return running as Promise<T>;
    const result = this.#run(key, effect);
    this.#running.set(key, result);
    const forget = (): boolean => this.#running.delete(key);
    result.then(forget, forget);
    return result;
  }

  #toJson(effect: string, result: unknown): string {
    try {
      return JSON.stringify(result) ?? '';
    } catch (cause) {
      const jobId = this.#jobId;
      const message = `job ${jobId}: what the effect "${effect}" returned has no JSON form; it has happened, and would happen again`;
      throw new MillraceError('JOB_UNRECOVERABLE', message, { jobId, effect, cause });
    }
  }

  async #run<T>(key: string, effect: () => Promise<T> | T): Promise<T> {
    if (typeof key !== 'string' || key === '' || key.length > LONGEST_KEY) {
      throw new MillraceError('OPTIONS_INVALID', `once: expected a key of 1 to ${LONGEST_KEY} characters`, { key });
    }
    const stored = this.#stored.get(key);
    if (stored !== undefined) return (stored === '' ? undefined : JSON.parse(stored)) as T;
    this.ran.push(key);
    const result = await effect();
    const json = this.#toJson(key, result);
    if (!this.#mayStore()) {
      const message = `job ${this.#jobId}: the lease was lost before the result of "${key}" could be stored; another attempt may run it again`;
      throw new MillraceError('LEASE_LOST', message, { jobId: this.#jobId, effect: key });
    }
    this.#stored.set(key, json);
    return result;
  }
}

/** The results as values. */
export function effectsOf(stored: StoredEffects): Record<string, unknown> {
  return Object.fromEntries([...stored].map(([key, json]) => [key, json === '' ? undefined : JSON.parse(json)]));
}

/** Results of an earlier run, as they are stored. */
export function storedEffects(results: Readonly<Record<string, unknown>> = {}): StoredEffects {
  return new Map(Object.entries(results).map(([key, result]) => [key, JSON.stringify(result) ?? '']));
}
