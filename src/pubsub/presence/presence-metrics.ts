/**
 * What is counted of presence. Neither rooms nor users are labels: there may be one for each document.
 *
 *   millrace_presence_connections                   connections that this process keeps in rooms
 *   millrace_presence_watched_rooms                 rooms whose changes it hears
 *   millrace_presence_transitions_total{outcome}    entered, joined, returned, taken-over; left, away, gone; lapsed: found itself out;
 *                                                   full: found no place
 *   millrace_presence_beats_total{outcome}          ok, failed: one for all rooms that are due
 *   millrace_presence_beat_seconds                  how long they took
 *   millrace_presence_syncs_total{reason}           opened, link, gap, late, data-lost
 *   millrace_presence_changes_total{type}           enter, update, leave, as they were heard
 *   millrace_presence_refused_messages_total        what was said on a channel and had not the form of an announcement
 */

import type { MeterRegistry } from '../../meters.ts';

/** What is needed of a metrics registry; createMetrics() gives one. */
export type PresenceMetricsRegistry = MeterRegistry;

const TRANSITIONS = ['entered', 'joined', 'returned', 'taken-over', 'left', 'away', 'gone', 'lapsed', 'full'] as const;
/** What became of a connection of this process. */
export type Transition = (typeof TRANSITIONS)[number];
const REASONS = ['opened', 'link', 'gap', 'late', 'data-lost'] as const;
/** Why a room was read as a whole. */
export type SyncReason = (typeof REASONS)[number];
const TYPES = ['enter', 'update', 'leave'] as const;

const SECONDS_BUCKETS: readonly number[] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** What stats() tells of a process. */
export interface PresenceStats {
  /** Connections that this process keeps in rooms. */
  readonly connections: number;
  /** Rooms that it beats for: it has connections there, or hears their changes. */
  readonly rooms: number;
  /** Rooms whose changes it hears. */
  readonly watched: number;
  /** Heartbeats that were answered, each for all rooms that were due. */
  readonly beats: number;
  readonly failedBeats: number;
  /** How long the last one took. */
  readonly lastBeatMs: number;
  /** How often a connection of this process was found out and came in again. */
  readonly lapsed: number;
  /** How often a room was read as a whole because something was missed. */
  readonly resyncs: number;
  /** Messages that had not the form of an announcement. */
  readonly refusedMessages: number;
}

/** Counts for one process. */
export class PresenceMeter {
  connections = 0;
  watched = 0;
  beats = 0;
  failedBeats = 0;
  lastBeatMs = 0;
  lapsed = 0;
  resyncs = 0;
  refusedMessages = 0;
  readonly #exported: Exported | undefined;

  /** @throws MillraceError OPTIONS_INVALID when one of the names is taken by another metric. */
  constructor(registry: PresenceMetricsRegistry | undefined) {
    this.#exported = registry && exportTo(registry);
  }

  connection(by: 1 | -1): void {
    this.connections += by;
    this.#exported?.connections.inc(by);
  }

  watching(by: 1 | -1): void {
    this.watched += by;
    this.#exported?.watched.inc(by);
  }

  transition(outcome: Transition): void {
    if (outcome === 'lapsed') this.lapsed++;
    this.#exported?.transitions[outcome].inc();
  }

  beat(outcome: 'ok' | 'failed', ms: number): void {
    if (outcome === 'ok') this.beats++;
    else this.failedBeats++;
    this.lastBeatMs = ms;
    this.#exported?.beats[outcome].inc();
    this.#exported?.seconds.observe(ms / 1_000);
  }

  sync(reason: SyncReason): void {
    if (reason !== 'opened') this.resyncs++;
    this.#exported?.syncs[reason].inc();
  }

  change(type: (typeof TYPES)[number]): void {
    this.#exported?.changes[type].inc();
  }

  refused(): void {
    this.refusedMessages++;
    this.#exported?.refused.inc();
  }
}

interface Counter {
  inc(n?: number): void;
}

interface Exported {
  connections: Counter;
  watched: Counter;
  transitions: Readonly<Record<Transition, Counter>>;
  beats: Readonly<Record<'ok' | 'failed', Counter>>;
  seconds: { observe(value: number): void };
  syncs: Readonly<Record<SyncReason, Counter>>;
  changes: Readonly<Record<(typeof TYPES)[number], Counter>>;
  refused: Counter;
}

function exportTo(registry: PresenceMetricsRegistry): Exported {
  const one = { labels: [], maxChildren: 1 } as const;
  const counted = <const Value extends string>(
    name: string,
    help: string,
    label: string,
    values: readonly Value[],
  ): Readonly<Record<Value, Counter>> => {
    const metric = registry.counter({ name, help, labels: [label], maxChildren: values.length });
    const bind = (value: Value): Counter => metric.labels({ [label]: value });
    return Object.fromEntries(values.map((value) => [value, bind(value)])) as Record<Value, Counter>;
  };
  const name = 'millrace_presence';
  return {
    connections: registry
      .gauge({ name: `${name}_connections`, help: 'Connections that this process keeps in rooms.', ...one })
      .labels({}),
    watched: registry
      .gauge({ name: `${name}_watched_rooms`, help: 'Rooms whose changes this process hears.', ...one })
      .labels({}),
    transitions: counted(
      `${name}_transitions_total`,
      'What became of connections of this process.',
      'outcome',
      TRANSITIONS,
    ),
    beats: counted(`${name}_beats_total`, 'Heartbeats, each for all rooms that were due.', 'outcome', ['ok', 'failed']),
    seconds: registry
      .histogram({ name: `${name}_beat_seconds`, help: 'How long heartbeats took.', ...one, buckets: SECONDS_BUCKETS })
      .labels({}),
    syncs: counted(`${name}_syncs_total`, 'Rooms that were read as a whole, by why.', 'reason', REASONS),
    changes: counted(`${name}_changes_total`, 'Changes that were heard.', 'type', TYPES),
    refused: registry
      .counter({ name: `${name}_refused_messages_total`, help: 'Messages that were no announcements.', ...one })
      .labels({}),
  };
}
