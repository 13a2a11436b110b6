/**
 * What is live of a dashboard: its collector, what it hears of that of another process, and its tabs.
 *
 * With alerts on, somebody always collects, because an alert is for when nobody looks. With alerts off, Redis is asked only while a tab is
 * open anywhere, or a page was loaded in the last seconds.
 */
import { systemClock, type Subscription } from 'millrace';
import { alertsOf } from '../alerts/alerts.ts';
import type { Desk, Running } from '../desk.ts';
import { Charts } from './chart-data.ts';
import { Collector } from './collector.ts';
import { Hub } from './hub.ts';
import { collectLive } from './live-metrics.ts';
import { Observer } from './look.ts';
import { snapshotTopic, type Snapshot } from './snapshot.ts';

const LINGER_MS = 10_000;
/** Who loads a page before anybody has collected waits so long for the first snapshot. */
const FIRST_WITHIN_MS = 1_000;

export class Live implements Running {
  readonly hub: Hub;
  readonly collector: Collector;
  readonly charts: Charts;
  readonly #desk: Desk;
  #subscription: Subscription | undefined;
  #endCollecting: () => void = () => undefined;
  #lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(desk: Desk) {
    const { platform, log, options } = desk;
    const alerts = alertsOf(desk);
    const everyMs = options.collectEvery;
    this.#desk = desk;
    this.charts = new Charts(platform, () => systemClock.monotonicMs());
    this.collector = new Collector({
      platform,
      log,
      observer: new Observer(platform, { watched: alerts.watched, everyMs }),
      everyMs,
      isWanted: () => alerts.isOn || this.hub.tabs > 0 || systemClock.monotonicMs() - this.#lookedAtMs < LINGER_MS,
      judge: (look, lock) => alerts.judge(look, lock),
      onSnapshot: (snapshot) => this.hub.take(snapshot),
    });
    this.hub = new Hub({
      log,
      mostTabs: options.liveTabs,
      stillSignedIn: desk.stillSignedIn,
      trouble: () => this.#trouble(),
      onLook: () => this.collector.wake(),
    });
  }

  start(): void {
    const { platform } = this.#desk;
    this.#subscription = platform.pubsub.subscribe(snapshotTopic, ({ data }) => this.hub.take(data), { queue: 1 });
    this.#endCollecting = collectLive(platform.metrics, this.hub);
    this.collector.start();
  }

  async stop(): Promise<void> {
    this.hub.close();
    this.#endCollecting();
    await this.collector.stop();
    await this.#subscription?.close();
  }

  /**
   * The newest snapshot, for which a page waits a moment where nobody has collected of late; undefined while there is none. It is the collector
   * alone that looks: others that looked beside it would have Redis do the same for each process, most of all when it is slow.
   */
  async snapshot(): Promise<Snapshot | undefined> {
    this.#lookedAtMs = systemClock.monotonicMs();
    this.collector.wake();
    return this.hub.next(FIRST_WITHIN_MS);
  }

  #trouble(): string | undefined {
    const { redis } = this.#desk.platform;
    if (redis.outage() || this.collector.trouble !== undefined) return 'Redis does not answer';
    return this.hub.state === 'stale' ? 'Nobody collects' : undefined;
  }
}

const lives = new WeakMap<Desk, Live>();

/** What is live of a dashboard, the same for all its pages. */
export function liveOf(desk: Desk): Live {
  const known = lives.get(desk);
  if (known) return known;
  const live = new Live(desk);
  lives.set(desk, live);
  return live;
}
