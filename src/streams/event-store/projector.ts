/**
 * Brings a build of a projection forward by a batch of events: reads the documents, has the handlers change them, and writes them with the new
 * checkpoint in one script. Whoever was overtaken by another process has done nothing.
 */
import { askRedis } from './ask-redis.ts';
import type { RecordedEvent, EventSchemas } from './contract.ts';
import { callHandler } from './call-handler.ts';
import type { StoreCore } from './core.ts';
import { decodeEvent } from './decode.ts';
import type { EventRef, StoredEvent } from './entry.ts';
import type { Follows } from './follower.ts';
import type { ProjectionKeys } from './keys.ts';
import type { CheckedProjection } from './projection.ts';
import { commit, openProjection, type CommitOutcome } from './scripts.ts';
import { BatchView } from './view.ts';

/** A script takes some 7,000 arguments, three a document, and one event may have a thousand. */
const MANY_DOCUMENTS = 1_000;
const MANY_BYTES = 4 * 1_024 * 1_024;

/** A build, and how far it had come when it was looked at. */
export interface Build {
  readonly build: string;
  readonly at: number;
}

/** Brings the builds of one projection forward. */
export class Projector {
  readonly keys: ProjectionKeys;
  readonly #core: StoreCore;
  readonly #checked: CheckedProjection;

  constructor(core: StoreCore, checked: CheckedProjection) {
    this.keys = core.keys.projection(checked.name);
    this.#core = core;
    this.#checked = checked;
  }

  /** The build that is read. */
  live(): Promise<Build> {
    return openProjection(
      this.#core.connections.commands(),
      { builds: this.keys.builds, all: this.#core.keys.all },
      {},
    );
  }

  /**
   * Makes the events count, or as many of them as come before one that fails.
   *
   * @returns `moved` and how far it came; `other` and how far it really is, because another process has come or events were lost; `gone` when the build was replaced
   * @throws what a handler throws, if it is that of the first event; the signal's reason
   */
  async step(
    { build, at }: Build,
    refs: readonly EventRef[],
    signal: AbortSignal,
  ): Promise<{ outcome: CommitOutcome; at: number; handled: number }> {
    const {
      reader,
      connections,
      keys: { all },
    } = this.#core;
    const { rule, on } = this.#checked;
    const documents = this.keys.documents(build);
    const view = new BatchView(rule, (keys) => askRedis(connections, (client) => client.hmget(documents, ...keys)));
    const events = await reader.fetch(refs.filter(({ type }) => Object.hasOwn(on, type)));
    const { handled, nextOf } = await this.#apply(view, events, signal);
    signal.throwIfAborted();
    // Up to the one that was not made to count, or to the end of the page, the others of which do nothing here.
    const newAt = nextOf === undefined ? (refs.at(-1)?.position ?? at) : nextOf - 1;
    const result = await commit(
      connections.commands(),
      { builds: this.keys.builds, documents, all },
      { build, readAt: at, newAt, mark: markAt(refs, newAt), changes: view.changes() },
    );
    return { ...result, handled: result.outcome === 'moved' ? handled : 0 };
  }

  /** The projection as one process follows it. */
  follows(): Follows {
    const { contract, meter } = this.#core;
    const { name, leaseMs } = this.#checked;
    const ofFollower = meter.follower(name);
    let current: Build = { build: '0', at: 0 };
    const locate = async (): Promise<number> => {
      current = await this.live();
      return current.at;
    };
    return {
      title: `projection ${contract.name}/${name}`,
      leader: this.keys.leader,
      leaseMs,
      meter: ofFollower,
      locate,
      work: async (refs, { signal }) => {
        const { outcome, at, handled } = await this.step(current, refs, signal);
        ofFollower.handled(handled);
        if (outcome !== 'moved') return locate();
        current = { ...current, at };
        return at;
      },
      settle: async () => undefined,
    };
  }

  /** @returns how many counted, and the position of the first that did not */
  async #apply(
    view: BatchView,
    stored: readonly StoredEvent[],
    signal: AbortSignal,
  ): Promise<{ handled: number; nextOf: number | undefined }> {
    const { contract, log } = this.#core;
    const events: Array<RecordedEvent<EventSchemas>> = [];
    const keys: string[] = [];
    let failure: { error: unknown; event: StoredEvent } | undefined;
    for (const event of stored) {
      try {
        const decoded = await decodeEvent(contract, event);
        keys.push(...this.#checked.keysOf(decoded));
        events.push(decoded);
      } catch (error) {
        failure = { error, event };
        break;
      }
    }
    await view.prefetch(keys);
    for (const [index, event] of events.entries()) {
      signal.throwIfAborted();
      const { documents, bytes } = view.size;
      if (documents >= MANY_DOCUMENTS || bytes >= MANY_BYTES) return { handled: index, nextOf: event.position };
      try {
        await this.#handle(view, event, signal);
        await view.keep();
      } catch (error) {
        view.drop();
        signal.throwIfAborted();
        failure = { error, event: stored[index] as StoredEvent };
        break;
      }
    }
    if (!failure) return { handled: events.length, nextOf: undefined };
    const { streamId, version, position, type } = failure.event;
    // It is the first one of the next batch, and fails that.
    if (position === stored[0]?.position) {
      log.error({ streamId, version, position, type }, `projection ${this.#checked.name}: an event cannot be handled`);
      throw failure.error;
    }
    return { handled: stored.indexOf(failure.event), nextOf: position };
  }

  #handle(view: BatchView, event: RecordedEvent<EventSchemas>, signal: AbortSignal): unknown {
    const { on, timeoutMs, name } = this.#checked;
    const { type, version, streamId } = event;
    const answer = on[type]?.(view, event);
    if (!(answer instanceof Promise)) return answer;
    // The handler may have the signal abort itself; then nobody waits for it, and its failure must not end the process.
    answer.catch(() => undefined);
    return callHandler(() => answer, {
      timeoutMs,
      signal,
      what: `projection ${name}: event ${version} of ${streamId}`,
    });
  }
}

function markAt(refs: readonly EventRef[], position: number): string {
  return refs.find((ref) => ref.position === position)?.mark ?? '';
}
