/**
 * A job that runs in a thread, as its worker sees it: does for the handler what the thread cannot, and settles when the handler has ended or
 * the thread has.
 */
import { AsyncResource } from 'node:async_hooks';
import { MillraceError } from '../../errors.ts';
import type { Enqueued, JobTarget } from '../producer.ts';
import type { EnqueuePlan } from '../enqueue-options.ts';
import type { Attempt } from '../worker/attempt.ts';
import { unstorable } from '../worker/once.ts';
import { carryError, rebuildError } from './carried-error.ts';
import { rebuildFields } from './carried-value.ts';
import type { FromThread, Question, RunMessage, ToThread } from './messages.ts';

/** What a job in a thread needs of the platform. */
export interface JobServices {
  /** Sends a job whose input and options were checked in the thread. */
  send(target: JobTarget, json: string, plan: EnqueuePlan): Promise<Enqueued>;
}

interface Effect {
  key: string;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** A job that runs in a thread. */
export class HostedJob {
  /** What the handler returned. */
  readonly ended: Promise<unknown>;
  readonly request: RunMessage;
  /** Takes in what the thread says, in the job's own asynchronous context: logs and jobs of a trace stay with it. */
  readonly receive: (message: FromThread) => void;
  /** Called when the handler runs. */
  onBegan: (() => void) | undefined;
  /** The thread should not be used again. */
  isSpoiled = false;
  readonly #attempt: Attempt;
  readonly #services: JobServices;
  readonly #effects = new Map<number, Effect>();
  #post: (message: ToThread) => void = () => undefined;
  #resolve: (value: unknown) => void = () => undefined;
  #reject: (error: unknown) => void = () => undefined;
  #isOver = false;

  constructor(request: RunMessage, attempt: Attempt, services: JobServices) {
    this.request = request;
    this.#attempt = attempt;
    this.#services = services;
    this.receive = AsyncResource.bind((message: FromThread) => this.#receive(message));
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Sends the job to a thread. */
  start(post: (message: ToThread) => void): void {
    this.#post = post;
    try {
      post(this.request);
    } catch (cause) {
      const { name } = this.request.contract;
      this.fail(new MillraceError('THREAD_BOUNDARY', `the input of ${name} cannot cross to its thread`, { cause }));
    }
  }

  /** Tells the handler that its signal has aborted. */
  abort(reason: unknown): void {
    if (!this.#isOver) this.#post({ type: 'abort', run: this.request.run, error: carryError(reason) });
  }

  /** The handler has ended, or nobody will know how. */
  fail(error: unknown): void {
    this.#finish();
    this.#reject(error);
  }

  #receive(message: FromThread): void {
    if (message.run !== this.request.run || this.#isOver) return;
    switch (message.type) {
      case 'began':
        this.#attempt.startTimeout();
        this.onBegan?.();
        break;
      case 'log': {
        const { level, first, message: said } = message;
        if (typeof first === 'string') this.#attempt.log[level](first);
        else this.#attempt.log[level](rebuildFields(first), said);
        break;
      }
      case 'progress':
        this.#attempt.progress(message.value);
        break;
      case 'ask':
        void this.#reply(message.ask, message.question);
        break;
      case 'effect-done':
        this.#takeEffect(message.ask)?.resolve(message.json === undefined ? undefined : JSON.parse(message.json));
        break;
      case 'effect-failed':
        this.#takeEffect(message.ask)?.reject(rebuildError(message.error));
        break;
      case 'effect-unstorable': {
        const effect = this.#takeEffect(message.ask);
        effect?.reject(unstorable(this.request.job.id, effect.key, rebuildError(message.error)));
        break;
      }
      case 'returned':
        this.#finish();
        this.#resolve(message.value);
        break;
      case 'threw':
        this.isSpoiled = message.isSpoiled;
        this.fail(rebuildError(message.error));
        break;
    }
  }

  async #reply(ask: number, question: Question): Promise<void> {
    const { run } = this.request;
    try {
      const value = await this.#answer(ask, question);
      if (!this.#isOver) this.#post({ type: 'answer', run, ask, value });
    } catch (error) {
      if (!this.#isOver) this.#post({ type: 'refusal', run, ask, error: carryError(error) });
    }
  }

  #answer(ask: number, question: Question): Promise<unknown> {
    switch (question.about) {
      case 'once':
        return this.#attempt.once(question.key, () => this.#effect(ask, question.key));
      case 'enqueue':
        return this.#services.send(question.target, question.json, question.plan);
      case 'children':
        return this.#attempt.children();
    }
  }

  /** Nobody has the result: the thread runs the effect. */
  #effect(ask: number, key: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#isOver) reject(this.#lost());
      this.#effects.set(ask, { key, resolve, reject });
      if (!this.#isOver) this.#post({ type: 'effect', run: this.request.run, ask });
    });
  }

  #takeEffect(ask: number): Effect | undefined {
    const effect = this.#effects.get(ask);
    this.#effects.delete(ask);
    return effect;
  }

  #finish(): void {
    this.#isOver = true;
    for (const effect of this.#effects.values()) effect.reject(this.#lost());
    this.#effects.clear();
  }

  #lost(): MillraceError {
    const { id, name } = this.request.job;
    return new MillraceError('CLOSED', `${name} ${id}: its handler ended before the effect`, { jobId: id });
  }
}
