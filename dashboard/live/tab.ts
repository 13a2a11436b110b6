/**
 * One open tab: a response of Server-Sent Events that lasts.
 *
 * Promise: whatever the browser does not read is not kept for it. While it is behind, nothing is written to it; once it has caught up it is
 * given what is newest. So a tab costs no more memory than one message.
 */
import type { Request, Response } from 'express';
import { systemClock } from 'millrace';

/** One that has read nothing for so long is given up. */
const STUCK_MS = 60_000;

/** How long a browser waits before it comes again. */
const RETRY_MS = 2_000;

export class Tab {
  readonly request: Request;
  readonly user: string;
  /** Tabs of one session share the checks whether it still holds. All cookies as they came: what is the same throughout is of one session. */
  readonly session: string;
  /** Which version of the cells it was told last; 0 for none. */
  version = 0;
  /** The status it was told last. */
  status = '';
  readonly #response: Response;
  #fullSinceMs: number | undefined;

  /** @param onRoom is called when the tab can be written to again */
  constructor(request: Request, response: Response, user: string, onRoom: (tab: Tab) => void) {
    this.request = request;
    this.user = user;
    this.session = JSON.stringify([user, request.secure, request.headers.cookie]);
    this.#response = response;
    response.status(200).set({
      'Content-Type': 'text/event-stream; charset=utf-8',
      'Cache-Control': 'no-store, no-transform',
      // For nginx, which else keeps what comes until it has a few kilobytes.
      'X-Accel-Buffering': 'no',
    });
    response.flushHeaders();
    response.on('drain', () => {
      this.#fullSinceMs = undefined;
      onRoom(this);
    });
    this.#write(`retry: ${RETRY_MS}\n\n`);
  }

  /** Whether something may be written now. */
  get hasRoom(): boolean {
    return this.#fullSinceMs === undefined && !this.#response.writableEnded;
  }

  /** Sends an event; the caller has looked whether there is room. @param json on one line, as JSON.stringify() makes it */
  send(event: string, json: string, id?: string): void {
    this.#write(`${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${json}\n\n`);
  }

  /** Keeps proxies and browsers from taking the silence for a broken connection; gives up who has read nothing for long. */
  beat(): void {
    if (this.hasRoom) this.#write(': still here\n\n');
    else if (systemClock.monotonicMs() - (this.#fullSinceMs ?? Number.POSITIVE_INFINITY) > STUCK_MS)
      this.#response.destroy();
  }

  /** Ends it, with a last word for the browser. */
  end(event: string): void {
    if (this.hasRoom) this.#response.end(`event: ${event}\ndata: {}\n\n`);
    else this.#response.destroy();
  }

  #write(text: string): void {
    if (!this.#response.write(text)) this.#fullSinceMs ??= systemClock.monotonicMs();
  }
}
