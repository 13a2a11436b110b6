/**
 * Tells the fleet of this process, for as long as a part of it works: its jobs, its consumers of streams.
 *
 *   nobody works --the first member joins--> beating --the last one leaves, or close()--> forgotten
 *
 * One script of one round trip at each beat, whatever runs. Who begins to drain is told of at once.
 * Redis down: never an error for who works. The next beat tries again, and one line in the log says so.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { withDeadline, type Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { defineScript, type ScriptClient } from '../../redis/script.ts';
import { watchEventLoop, type EventLoopWatch } from '../worker/event-loop-watch.ts';
import { FORGET_MS, type FleetKeys } from './fleet.ts';
import { MOST_RUNNING, MOST_SCHEDULES, type ConsumerReport, type Report } from './report.ts';

/** What a part of this process works on. */
export interface FleetMember {
  /** What the user calls the deployed version. */
  version?: string | undefined;
  /** What it does now; asked at each beat. */
  report(): MemberReport;
}

/** What a part of this process does now. */
export interface MemberReport {
  queues?: Report['queues'];
  consumers?: readonly ConsumerReport[];
  running?: Report['running'];
}

/** The place of a member in the heartbeat. */
export interface FleetSeat {
  /** It takes nothing new from now on. */
  drain(): void;
  /** It works no more. Resolves once the fleet knows, or cannot be told. */
  leave(): Promise<void>;
}

/** What a heartbeat is made of. */
export interface HeartbeatParts {
  client: () => ScriptClient;
  keys: FleetKeys;
  clock: Clock;
  log: Logger;
  /** Of Millrace. */
  millrace: string;
  /** Of the application, where no member tells one. */
  appVersion?: string | undefined;
  /** The ids of the schedules that the process has declared. */
  schedules?: (() => readonly string[]) | undefined;
  /** Default 5 s. */
  everyMs?: number | undefined;
}

const EVERY_MS = 5_000;
/** Processes that are kept. */
const MOST_PROCESSES = 1_000;
/** A process that stops waits so long for being forgotten. */
const LEAVE_WITHIN_MS = 300;

const beat = defineScript({
  file: 'jobs/fleet/beat.lua',
  keys: ['workers', 'seen'],
  args: ['process', 'report', 'forgetMs', 'most'],
  reply: (kept: number) => kept,
});

const leave = defineScript({
  file: 'jobs/fleet/leave.lua',
  keys: ['workers', 'seen'],
  args: ['process'],
  reply: (wasKnown: number) => wasKnown === 1,
});

/** The heartbeat of one process. */
export class Heartbeat {
  readonly #parts: HeartbeatParts;
  readonly #id = randomUUID();
  readonly #everyMs: number;
  readonly #members = new Set<FleetMember>();
  readonly #draining = new Set<FleetMember>();
  readonly #loop: EventLoopWatch;
  #timer: NodeJS.Timeout | undefined;
  #beating: Promise<void> | undefined;
  /** Something is to be told at once when the beat under way has ended. */
  #isDue = false;
  #isUnheard = false;
  #isClosed = false;

  constructor(parts: HeartbeatParts) {
    this.#parts = parts;
    this.#everyMs = parts.everyMs ?? EVERY_MS;
    this.#loop = watchEventLoop({ clock: parts.clock });
  }

  /** Tells of the member from now on. Waits for nothing; one that comes after close() is not told of. */
  join(member: FleetMember): FleetSeat {
    if (this.#isClosed) return { drain: () => undefined, leave: async () => undefined };
    this.#members.add(member);
    this.#loop.start();
    this.#timer ??= setInterval(() => this.#tell(), this.#everyMs).unref();
    this.#tell();
    return {
      drain: () => {
        if (!this.#members.has(member) || this.#draining.has(member)) return;
        this.#draining.add(member);
        this.#tell();
      },
      leave: () => this.#leave(member),
    };
  }

  /** All members drain. */
  drain(): void {
    for (const member of this.#members) this.#draining.add(member);
    if (this.#members.size > 0) this.#tell();
  }

  /** All members leave. Safe to call twice; waits no longer than a moment. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#members].map((member) => this.#leave(member)));
  }

  async #leave(member: FleetMember): Promise<void> {
    this.#draining.delete(member);
    if (!this.#members.delete(member)) return;
    if (this.#members.size > 0) return this.#tell();
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#loop.stop();
    const { client, keys, log } = this.#parts;
    const late = new MillraceError('CLOSED', 'not within the time', {});
    const left = async (): Promise<void> => {
      await this.#beating; // A beat that comes after it would bring the process back.
      if (this.#members.size === 0) await leave(client(), { ...keys }, { process: this.#id });
    };
    await withDeadline(left(), LEAVE_WITHIN_MS, () => late).catch((error: unknown) =>
      log.debug({ err: error }, 'the fleet could not be told of the stop: this process is shown as silent for an hour'),
    );
  }

  #tell(): void {
    if (this.#beating) {
      this.#isDue = true;
      return;
    }
    this.#isDue = false;
    this.#beating = this.#beat().finally(() => {
      this.#beating = undefined;
      if (this.#isDue && this.#members.size > 0) this.#tell();
    });
  }

  async #beat(): Promise<void> {
    const { client, keys, log } = this.#parts;
    try {
      const report = JSON.stringify(this.#report());
      await beat(client(), { ...keys }, { process: this.#id, report, forgetMs: FORGET_MS, most: MOST_PROCESSES });
      this.#isUnheard = false;
    } catch (error) {
      if (!this.#isUnheard) log.warn({ err: error }, 'the fleet could not be told of this process; tried again');
      this.#isUnheard = true;
    }
  }

  #report(): Report {
    const { millrace, appVersion, schedules } = this.#parts;
    const members = [...this.#members];
    const reports = members.map((member) => member.report());
    const running = reports.flatMap((report) => report.running ?? []);
    return {
      host: hostname(),
      pid: process.pid,
      millrace,
      node: process.version,
      appVersion: members.find(({ version }) => version !== undefined)?.version ?? appVersion,
      everyMs: this.#everyMs,
      upMs: Math.round(process.uptime() * 1_000),
      isDraining: members.every((member) => this.#draining.has(member)),
      queues: reports.flatMap((report) => report.queues ?? []),
      consumers: reports.flatMap((report) => report.consumers ?? []),
      schedules: schedules?.().slice(0, MOST_SCHEDULES) ?? [],
      running: running.toSorted((one, other) => other.runMs - one.runMs).slice(0, MOST_RUNNING),
      lagMs: Math.round(this.#loop.takeLongestMs()),
      rssBytes: process.memoryUsage.rss(),
    };
  }
}
