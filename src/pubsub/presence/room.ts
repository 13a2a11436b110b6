/** A room: who is in it, and what changes. */
import type { Logger } from '../../log.ts';
import { membersOf, usersOf, type Member, type PresenceChange, type PresentUser } from './members.ts';
import type { Membership } from './membership.ts';
import type { EnterOptions, EnterRequest, PresenceState, RoomRule } from './options.ts';
import type { RoomView, ViewListener } from './room-view.ts';
import type { Store } from './store.ts';

/** The members of a room at one moment. */
export interface RoomSnapshot<State extends object = PresenceState> {
  /** The place of the last change in the room's sequence; 0 when nobody is there. */
  readonly seq: number;
  readonly members: ReadonlyArray<Member<State>>;
}

/** What a room tells. */
export interface RoomEvents<State extends object = PresenceState> {
  enter: PresenceChange<State>;
  update: PresenceChange<State>;
  leave: PresenceChange<State>;
  /** The room was read as a whole: first, and after something was missed. What was missed has been told before. */
  sync: RoomSnapshot<State>;
}

/** Hears one kind of event. What it throws is logged. */
export type RoomListener<Event> = (event: Event) => void | Promise<void>;

/** What a room needs. */
export interface RoomParts {
  store: Store;
  log: Logger;
  enter(room: string, rule: RoomRule, request: EnterRequest): Promise<Membership>;
  openView(room: string, rule: RoomRule): RoomView;
  closeView(view: RoomView): void;
}

/** A room, for one process. */
export class Room<State extends object = PresenceState> {
  readonly name: string;
  readonly #rule: RoomRule;
  readonly #parts: RoomParts;
  readonly #listeners = new Map<keyof RoomEvents, Set<RoomListener<never>>>();
  readonly #listener: ViewListener;
  #view: RoomView | undefined;

  constructor(name: string, rule: RoomRule, parts: RoomParts) {
    this.name = name;
    this.#rule = rule;
    this.#parts = parts;
    this.#listener = {
      onChange: (change) => this.#tell(change.type, change),
      onSync: (seq, members) => this.#tell('sync', Object.freeze({ seq, members })),
    };
  }

  /**
   * Comes into the room with a connection of a user, and stays until leave() or stop(), or until the process dies.
   *
   * @example
   * const me = await room.enter({ userId: 'ada', connectionId: socket.id, state: { cursor: 0 } });
   * socket.on('close', () => void me.leave());
   * @throws MillraceError OPTIONS_INVALID, INPUT_INVALID, PAYLOAD_TOO_LARGE, CLOSED; ROOM_FULL; REDIS_* when Redis does not answer
   */
  async enter(options: EnterOptions<State>): Promise<Membership<State>> {
    return (await this.#parts.enter(this.name, this.#rule, options)) as unknown as Membership<State>;
  }

  /**
   * Who is in the room now, asked of Redis: one for each connection.
   *
   * @example
   * const { members } = await room.members();
   * @throws MillraceError REDIS_* when Redis does not answer
   */
  async members(): Promise<RoomSnapshot<State>> {
    const { seq, states } = await this.#parts.store.read(this.name);
    return { seq, members: membersOf(states) as unknown as Array<Member<State>> };
  }

  /**
   * Who is in the room now, asked of Redis: one for each user.
   *
   * @example
   * const names = (await room.users()).map(({ userId }) => userId);
   * @throws MillraceError REDIS_* when Redis does not answer
   */
  async users(): Promise<Array<PresentUser<State>>> {
    return usersOf((await this.members()).members);
  }

  /**
   * How many are in the room now, asked of Redis, whose work does not grow with them.
   *
   * @example
   * const { users, connections } = await room.count();
   * @throws MillraceError REDIS_* when Redis does not answer
   */
  async count(): Promise<{ users: number; connections: number }> {
    const { users, connections } = await this.#parts.store.look(this.name);
    return { users, connections };
  }

  /**
   * Hears what changes, from now on until the function that is returned is called. The first listener subscribes; `sync` tells that it has,
   * and whoever listens for it later is told at once who is here.
   *
   * @example
   * const off = room.on('enter', ({ userId }) => show(userId));
   * @throws MillraceError CLOSED
   */
  on<Type extends keyof RoomEvents>(type: Type, listener: RoomListener<RoomEvents<State>[Type]>): () => void {
    if (!this.#view) {
      this.#view = this.#parts.openView(this.name, this.#rule);
      this.#view.add(this.#listener);
    }
    const listeners = this.#listeners.get(type) ?? new Set();
    const own: RoomListener<never> = (event) => listener(event);
    this.#listeners.set(type, listeners.add(own));
    if (type === 'sync' && this.#view.isLive) queueMicrotask(() => this.#tellFirst(own));
    return () => {
      listeners.delete(own);
      this.#closeIfUnheard();
    };
  }

  /**
   * The room as it is known here by what was heard, without asking Redis; undefined while nobody listens, or it was not read yet.
   *
   * @example
   * response.json(room.view()?.members ?? (await room.members()).members);
   */
  view(): (RoomSnapshot<State> & { readonly isLive: boolean }) | undefined {
    const view = this.#view;
    if (!view?.isRead) return undefined;
    return { seq: view.seq, isLive: view.isLive, members: view.members() as unknown as Array<Member<State>> };
  }

  /**
   * Resolves once changes are told as they happen: at once when nobody listens. It tells of the first time only, also while the connection is
   * lost later: `view().isLive` says how it is now, and `sync` that it is so again.
   *
   * @example
   * room.on('leave', ({ userId }) => hide(userId));
   * await room.ready({ signal: AbortSignal.timeout(2_000) });
   * @throws the reason of the signal
   */
  async ready({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    signal?.throwIfAborted();
    const ready = this.#view?.ready ?? Promise.resolve();
    if (!signal) return ready;
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => reject(signal.reason as Error);
      signal.addEventListener('abort', abort, { once: true });
      void ready.finally(() => signal.removeEventListener('abort', abort)).then(resolve);
    });
  }

  #closeIfUnheard(): void {
    if (!this.#view || [...this.#listeners.values()].some(({ size }) => size > 0)) return;
    if (!this.#view.remove(this.#listener)) this.#parts.closeView(this.#view);
    this.#view = undefined;
  }

  /** Who listens for `sync` where the room was read before would wait for the next loss. */
  #tellFirst(listener: RoomListener<never>): void {
    const view = this.#view;
    if (!view?.isLive || !this.#listeners.get('sync')?.has(listener)) return;
    this.#call(listener, 'sync', Object.freeze({ seq: view.seq, members: view.members() }));
  }

  #tell(type: keyof RoomEvents, event: unknown): void {
    for (const listener of this.#listeners.get(type) ?? []) this.#call(listener, type, event);
  }

  #call(listener: RoomListener<never>, type: keyof RoomEvents, event: unknown): void {
    try {
      const answer = listener(event as never);
      if (answer instanceof Promise) answer.catch((error: unknown) => this.#failed(type, error));
    } catch (error) {
      this.#failed(type, error);
    }
  }

  /** What listens is the app's: it must not keep others from hearing. */
  #failed(type: keyof RoomEvents, error: unknown): void {
    this.#parts.log.error({ err: error, room: this.name, event: type }, 'a listener of a room failed');
  }
}
