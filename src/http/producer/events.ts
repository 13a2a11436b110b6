/**
 * `GET /v1/jobs/{id}/events`: a job's life as Server-Sent Events.
 *
 *   event: state   the job, at once and with each change of its state or progress
 *   event: end     the job and its result; then the stream ends
 *   event: gone    nothing is known of the job any more; likewise
 *   : still here   every 15 s, so that proxies keep the connection
 *
 * Promise: a client that reads slowly misses progress that was overtaken and never the end; one that does not read at all is hung up on. A
 * stream ends after an hour at most; after its key's end nothing is told, and the next look or beat ends it. Whoever comes again is told
 * where the job is: nothing has to be remembered between two streams.
 * Redis down: the stream stays and is quiet until Redis is back.
 */
import type { Request, Response, Router } from 'express';
import { systemClock } from '../../clock.ts';
import { jobFor, mayStillRead, type Desk } from './desk.ts';
import { isAway } from './problem.ts';
import { endOf, enter } from './job-routes.ts';
import type { Sight } from './job-sight.ts';
import type { Look } from './job-watch.ts';

const HEARTBEAT_MS = 15_000;
const LONGEST_MS = 3_600_000;
const CLIENT_COMES_AGAIN_MS = 2_000;

export function addEvents(router: Router, desk: Desk): void {
  router.get('/v1/jobs/:id/events', (request, response) => follow(desk, request, response));
}

async function follow(desk: Desk, request: Request, response: Response): Promise<void> {
  const first = await jobFor(desk, request, response, 'read');
  const leave = first && enter(desk, request, response);
  if (!leave) return;
  try {
    begin(response);
    if (request.method !== 'HEAD') await new Stream(desk, request, response, first).run();
  } finally {
    leave();
    response.end();
  }
}

function begin(response: Response): void {
  response.status(200).set({
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-store',
    'X-Accel-Buffering': 'no', // nginx would keep events back otherwise.
  });
  response.flushHeaders();
}

class Stream {
  readonly #desk: Desk;
  readonly #request: Request;
  readonly #response: Response;
  readonly #first: Sight;
  readonly #done = new AbortController();
  /** The latest look that was not told yet. */
  #pending: Look | undefined;
  #isTelling = false;
  #told = '';

  constructor(desk: Desk, request: Request, response: Response, first: Sight) {
    this.#desk = desk;
    this.#request = request;
    this.#response = response;
    this.#first = first;
  }

  /** Until the job has ended, the client has left, or an hour is over. */
  async run(): Promise<void> {
    const { signal } = this.#done;
    this.#response.once('close', () => this.#done.abort());
    this.#response.on('drain', () => void this.#tell());
    this.#response.write(`retry: ${CLIENT_COMES_AGAIN_MS}\n\n`);
    const unwatch = this.#desk.watch.watch(this.#first.job.id, (look) => this.#see(look));
    this.#see({ sight: this.#first });
    void this.#seeEnd(signal);
    const untilMs = systemClock.monotonicMs() + LONGEST_MS;
    try {
      while (!signal.aborted && systemClock.monotonicMs() < untilMs) {
        await systemClock.sleep(HEARTBEAT_MS, { signal }).catch(() => undefined); // Ended by the job or the client.
        if (!signal.aborted) await this.#beat();
      }
    } finally {
      unwatch();
    }
  }

  /** Looks at the job as soon as its worker has told of its end, wherever its turn is among those that are watched. Never rejects. */
  async #seeEnd(signal: AbortSignal): Promise<void> {
    const { platform, jobs } = this.#desk;
    const { job, contract } = this.#first;
    try {
      // However it ends, the look tells.
      await platform.jobs.waitFor(job.id, { contract, deadline: LONGEST_MS, signal }).catch(() => undefined);
      const sight = signal.aborted ? undefined : await jobs.find(job.id);
      if (sight) this.#see({ sight });
    } catch (error) {
      platform.log.debug({ err: error }, 'the end of a job could not be looked at'); // The watch goes on.
    }
  }

  #see(look: Look): void {
    if ('failure' in look) return;
    this.#pending = look;
    void this.#tell();
  }

  /** One at a time, the latest only, and not faster than the client reads. Never rejects. */
  async #tell(): Promise<void> {
    if (this.#isTelling) return;
    this.#isTelling = true;
    while (this.#pending && !this.#response.writableNeedDrain && !this.#done.signal.aborted) {
      const look = this.#pending;
      const verdict = await this.#isStillGood();
      if (verdict === 'unknown') break; // Told with the next look.
      if (this.#pending === look) this.#pending = undefined;
      if (verdict === 'no') this.#done.abort();
      else this.#write(look);
    }
    this.#isTelling = false;
  }

  #write(look: Look): void {
    if ('gone' in look) return this.#end('gone', {});
    if (!('sight' in look)) return;
    if (look.sight.job.hasEnded) return this.#end('end', endOf(look.sight));
    const text = JSON.stringify(look.sight.job);
    if (text === this.#told) return;
    this.#told = text;
    this.#response.write(`event: state\ndata: ${text}\n\n`);
  }

  #end(event: string, data: unknown): void {
    this.#response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    this.#done.abort();
  }

  /** A client that has read nothing for a whole beat reads no more; and looks that fail have not asked for the key. */
  async #beat(): Promise<void> {
    if (this.#response.writableNeedDrain) this.#response.destroy();
    if (this.#response.destroyed || (await this.#isStillGood()) === 'no') return this.#done.abort();
    if (!this.#done.signal.aborted) this.#response.write(': still here\n\n');
  }

  /** Whether the key may still see the job. */
  async #isStillGood(): Promise<'yes' | 'no' | 'unknown'> {
    try {
      return (await mayStillRead(this.#desk, this.#request, this.#first.contract)) ? 'yes' : 'no';
    } catch (error) {
      if (!isAway(error)) this.#desk.platform.log.warn({ err: error }, 'an API key could not be checked');
      return 'unknown';
    }
  }
}
