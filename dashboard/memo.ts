/** Answers that are good for a few seconds, whoever asks: ten tabs that look at the same cost Redis what one costs. */
import { systemClock } from 'millrace';

interface Kept {
  readonly answer: Promise<unknown>;
  readonly untilMs: number;
}

/** Less than Bull Board waits between two looks (5 s), so that a tab alone always sees what is new. */
const GOOD_FOR_MS = 4_500;
/** More are not kept at once, unless it is told otherwise. */
const MOST = 5_000;
/** How often those that are over are looked for. */
const SWEEP_MS = 1_000;

/** Keeps answers by name. */
export class Memo {
  readonly #kept = new Map<string, Kept>();
  readonly #most: number;
  #sweptAtMs = 0;

  constructor(most = MOST) {
    this.#most = most;
  }

  /** How many it keeps. */
  get size(): number {
    return this.#kept.size;
  }

  /** The answer that is kept, or that of `ask`. One that fails is not kept. */
  get<T>(name: string, ask: () => Promise<T>, goodForMs = GOOD_FOR_MS): Promise<T> {
    const nowMs = systemClock.monotonicMs();
    const kept = this.#kept.get(name);
    if (kept && nowMs < kept.untilMs) return kept.answer as Promise<T>;
    this.#makeRoom(nowMs);
    const answer = ask();
    this.#kept.set(name, { answer, untilMs: nowMs + goodForMs });
    answer.catch(() => {
      if (this.#kept.get(name)?.answer === answer) this.#kept.delete(name);
    });
    return answer;
  }

  /** What is over goes, and then the oldest. */
  #makeRoom(nowMs: number): void {
    if (nowMs - this.#sweptAtMs >= SWEEP_MS) {
      this.#sweptAtMs = nowMs;
      for (const [name, { untilMs }] of this.#kept) if (nowMs >= untilMs) this.#kept.delete(name);
    }
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size < this.#most) return;
      this.#kept.delete(oldest);
    }
  }

  /** Forgets one of them. */
  forget(name: string): void {
    this.#kept.delete(name);
  }

  /** Forgets all: something was changed. */
  clear(): void {
    this.#kept.clear();
  }
}
