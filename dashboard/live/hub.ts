/**
 * The newest snapshot in this process, and the tabs that are told of it.
 *
 *   snapshot --cells--> what changed since the one before --> each tab that was told of that one
 *                   '-> all cells ----------------------> each tab that is new, or was behind
 *
 * Promise: a tab costs Redis nothing but the check, every 15 s, whether its session still holds, and that is one for all tabs of a session.
 * Redis down: tabs stay open and are told since when nothing is new; they go on by themselves.
 */
import type { Request, Response } from 'express';
import { systemClock, type Logger } from 'millrace';
import { cellsOf, type Cell, type Cells } from './cells.ts';
import { isLater, snapshotId, type Snapshot } from './snapshot.ts';
import { Tab } from './tab.ts';

/** What the hub is made of. */
export interface HubParts {
  readonly log: Logger;
  readonly mostTabs: number;
  readonly stillSignedIn: (request: Request) => Promise<boolean>;
  /** Why nothing is heard, if that is known. */
  readonly trouble: () => string | undefined;
  /** A tab was opened where none was. */
  readonly onLook: () => void;
}

const TICK_MS = 1_000;
const BEAT_EVERY_TICKS = 15;
/** So many snapshots may be missed before what is shown is called stale. */
const MISSED = 3;
/** A new collector needs a while before its first snapshot. */
const SLACK_MS = 2_000;
/** Tabs of one user, so that nobody leaves no room for others. */
const MOST_OF_ONE = 20;

/** Whether what is shown is what is. */
export type LiveState = 'starting' | 'live' | 'stale';

export class Hub {
  readonly #parts: HubParts;
  readonly #tabs = new Set<Tab>();
  #latest: Snapshot | undefined;
  #heardAtMs = 0;
  #cells: Cells = new Map();
  /** Counts the snapshots; a tab is up to date when it has this one. */
  #version = 0;
  /** What to send, made once for all tabs. */
  #changes = '{}';
  #whole: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #ticks = 0;
  #isClosed = false;
  /** Pages that wait for the next snapshot. */
  readonly #waiting = new Set<() => void>();

  constructor(parts: HubParts) {
    this.#parts = parts;
  }

  get tabs(): number {
    return this.#tabs.size;
  }

  get latest(): Snapshot | undefined {
    return this.#latest;
  }

  /** How old the newest snapshot is here; Infinity without one. */
  get ageMs(): number {
    return this.#latest ? systemClock.monotonicMs() - this.#heardAtMs : Number.POSITIVE_INFINITY;
  }

  get state(): LiveState {
    if (!this.#latest) return 'starting';
    return this.ageMs > this.#latest.everyMs * MISSED + SLACK_MS ? 'stale' : 'live';
  }

  /** A snapshot, of this process or of another one. */
  take(snapshot: Snapshot): void {
    if (this.#isClosed || !isLater(snapshot, this.#latest)) return;
    this.#latest = snapshot;
    this.#heardAtMs = systemClock.monotonicMs();
    const cells = cellsOf(snapshot);
    this.#changes = JSON.stringify({ at: snapshot.at, cells: Object.fromEntries(changesOf(this.#cells, cells)) });
    this.#whole = undefined;
    this.#cells = cells;
    this.#version += 1;
    for (const tab of this.#tabs) this.#sync(tab);
    this.#endWaiting();
  }

  /** The newest snapshot if it is current, else the next one; undefined when none comes in time. */
  async next(withinMs: number): Promise<Snapshot | undefined> {
    if (this.state !== 'live' && !this.#isClosed) {
      const stopWaiting = new AbortController();
      const heard = (): void => stopWaiting.abort();
      this.#waiting.add(heard);
      await systemClock.sleep(withinMs, { signal: stopWaiting.signal }).catch(() => undefined);
      this.#waiting.delete(heard);
    }
    return this.state === 'live' ? this.#latest : undefined;
  }

  /** Opens a tab of a user, unless there are too many, or too many of his. @returns whether it was opened */
  open(request: Request, response: Response, user: string): boolean {
    if (this.#isClosed || this.#tabs.size >= this.#parts.mostTabs) return false;
    if ([...this.#tabs].filter((tab) => tab.user === user).length >= MOST_OF_ONE) return false;
    const tab = new Tab(request, response, user, (free) => this.#sync(free));
    if (this.#latest && request.headers['last-event-id'] === snapshotId(this.#latest)) tab.version = this.#version;
    this.#tabs.add(tab);
    response.once('close', () => this.#forget(tab));
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS).unref();
    if (this.#tabs.size === 1) this.#parts.onLook();
    this.#sync(tab);
    return true;
  }

  /** Ends all tabs; none is opened any more. */
  close(): void {
    this.#isClosed = true;
    for (const tab of this.#tabs) tab.end('bye');
    clearInterval(this.#timer);
    this.#endWaiting();
  }

  #endWaiting(): void {
    for (const heard of this.#waiting) heard();
  }

  #forget(tab: Tab): void {
    this.#tabs.delete(tab);
    if (this.#tabs.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Tells a tab what it does not know, if it has room for it. */
  #sync(tab: Tab): void {
    if (tab.version !== this.#version && this.#latest && tab.hasRoom) {
      const isNext = tab.version === this.#version - 1 && tab.version > 0;
      tab.version = this.#version;
      tab.send('cells', isNext ? this.#changes : this.#all(this.#latest), snapshotId(this.#latest));
    }
    const { state } = this;
    const trouble = state === 'live' ? undefined : this.#parts.trouble();
    const status = `${state} ${trouble ?? ''}`;
    if (tab.status === status || !tab.hasRoom) return;
    tab.status = status;
    const facts = { state, trouble, at: this.#latest?.at, ageMs: this.#latest && Math.round(this.ageMs) };
    tab.send('status', JSON.stringify(facts));
  }

  #all({ at }: Snapshot): string {
    this.#whole ??= JSON.stringify({ at, isWhole: true, cells: Object.fromEntries(this.#cells) });
    return this.#whole;
  }

  #tick(): void {
    this.#ticks += 1;
    for (const tab of this.#tabs) this.#sync(tab);
    if (this.#ticks % BEAT_EVERY_TICKS !== 0) return;
    for (const tab of this.#tabs) tab.beat();
    void this.recheck();
  }

  /** Ends the tabs of those who are not signed in any more. Asks once for each session. */
  async recheck(): Promise<void> {
    const requests = new Map([...this.#tabs].map(({ session, request }) => [session, request]));
    await Promise.all(
      [...requests].map(async ([session, request]) => {
        try {
          if (await this.#parts.stillSignedIn(request)) return;
          for (const tab of this.#tabs) if (tab.session === session) tab.end('signed-out');
        } catch (error) {
          // Who cannot be asked for now is left as he is: nothing new is shown to him meanwhile.
          this.#parts.log.debug({ err: error }, 'not known whether a session still holds');
        }
      }),
    );
  }
}

/** What differs; null for a cell that is gone. */
function changesOf(before: Cells, after: Cells): Map<string, Cell | null> {
  const changes = new Map<string, Cell | null>();
  for (const [name, cell] of after) {
    const [text, value, tone] = before.get(name) ?? [];
    if (text !== cell[0] || value !== cell[1] || tone !== cell[2]) changes.set(name, cell);
  }
  for (const name of before.keys()) if (!after.has(name)) changes.set(name, null);
  return changes;
}
