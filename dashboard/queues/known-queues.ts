/**
 * Which queues the board shows: those that jobs were ever enqueued to and those that workers have contracts for, each with its dead letters.
 *
 * They are looked for when somebody asks, and at most every few seconds. Bull Board asks Redis about each of its queues, and draws them all: so
 * it is given so many of them, by name. Any other queue is added when it is asked for by its name, in the place of the last one.
 */
import type { BullBoardQueues } from '@bull-board/api/typings/app';
import type { ContractInfo } from 'millrace';
import type { Desk } from '../desk.ts';
import { DeadLetterAdapter } from './dead-letter-adapter.ts';
import type { Memo } from '../memo.ts';
import { boardName, readName } from './names.ts';
import { QueueAdapter } from './queue-adapter.ts';

/** Queues that the board has at once, each with its dead letters. */
export const MOST_SHOWN = 200;
/** Of them, those that were asked for by name. */
const MOST_ASKED_FOR = 20;
const MOST_CONTRACTS_TOLD = 5;

/** The queues of a board. */
export class KnownQueues {
  readonly #desk: Desk;
  readonly #memo: Memo;
  readonly #board: BullBoardQueues;
  readonly #askedFor = new Set<string>();
  #contracts: readonly ContractInfo[] = [];
  /** The names of all, in order. */
  names: readonly string[] = [];

  constructor(desk: Desk, memo: Memo, board: BullBoardQueues) {
    this.#desk = desk;
    this.#memo = memo;
    this.#board = board;
  }

  /** Brings the board up to date. `wanted` is the queue, if any, that the request is about. */
  async refresh(wanted?: string): Promise<void> {
    const names = await this.#names(wanted);
    const shown = this.#shown(names, wanted);
    if (
      names === this.names &&
      shown.every((queue) => this.#board.has(boardName({ queue, isDead: false }))) &&
      this.#board.size === shown.length * 2
    )
      return;
    this.names = names;
    const before = new Map(this.#board);
    this.#board.clear();
    // The board shows them in this order.
    for (const queue of shown) {
      for (const isDead of [false, true]) {
        const name = boardName({ queue, isDead });
        this.#board.set(name, before.get(name) ?? this.#adapterOf(queue, isDead));
      }
    }
  }

  /** What each contract keeps secret. */
  readonly secretsOf = async (): Promise<(contract: string) => readonly string[]> => {
    const secrets = await this.#memo.get('secrets', async () => {
      const paths = new Map<string, readonly string[]>();
      for (const { name, secrets: more } of [...(await this.#tellContracts()), ...this.#desk.contracts]) {
        paths.set(name, [...new Set([...(paths.get(name) ?? []), ...more])]);
      }
      return paths;
    });
    return (contract) => secrets.get(contract) ?? [];
  };

  /** One that is not known yet, but asked for, may have come just now: a link of another page leads to it. */
  async #names(wanted: string | undefined): Promise<readonly string[]> {
    const names = await this.#memo.get('queues', () => this.#find());
    if (wanted === undefined || names.includes(readName(wanted).queue)) return names;
    this.#memo.forget('queues');
    this.#memo.forget('contracts');
    return this.#memo.get('queues', () => this.#find());
  }

  async #find(): Promise<readonly string[]> {
    const [known, contracts] = await Promise.all([this.#desk.platform.jobs.queues(), this.#tellContracts()]);
    this.#contracts = contracts;
    return [...new Set([...known, ...contracts.map(({ queue }) => queue)])].toSorted();
  }

  #tellContracts(): Promise<readonly ContractInfo[]> {
    return this.#memo.get('contracts', () => this.#desk.platform.jobs.contracts());
  }

  #shown(names: readonly string[], wanted: string | undefined): readonly string[] {
    if (names.length <= MOST_SHOWN) return names;
    const name = wanted === undefined ? undefined : readName(wanted).queue;
    if (name !== undefined && names.includes(name)) {
      this.#askedFor.delete(name);
      this.#askedFor.add(name);
    }
    for (const oldest of this.#askedFor) {
      if (this.#askedFor.size <= MOST_ASKED_FOR) break;
      this.#askedFor.delete(oldest);
    }
    const asked = [...this.#askedFor].filter((one) => names.includes(one));
    return [...new Set([...asked, ...names.slice(0, MOST_SHOWN)])].slice(0, MOST_SHOWN).toSorted();
  }

  #adapterOf(name: string, isDead: boolean): QueueAdapter | DeadLetterAdapter {
    const { platform } = this.#desk;
    const { queue, dead } = platform.jobs.bullmq(name);
    const parts = { name, platform, memo: this.#memo, secretsOf: this.secretsOf };
    if (!isDead) return new QueueAdapter(queue, { ...parts, description: () => this.#describe(name) });
    const description = (): string => `Jobs of ${name} that failed for good. Retry gives them back to it.`;
    return new DeadLetterAdapter(dead, { ...parts, description });
  }

  /** Which contracts it has. */
  #describe(name: string): string {
    const contracts = [...new Set(this.#contracts.filter(({ queue }) => queue === name).map((one) => one.name))];
    const told = contracts.slice(0, MOST_CONTRACTS_TOLD).join(', ');
    return contracts.length > MOST_CONTRACTS_TOLD ? `${told} and ${contracts.length - MOST_CONTRACTS_TOLD} more` : told;
  }
}
