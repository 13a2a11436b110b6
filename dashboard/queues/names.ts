/**
 * Names of queues as Bull Board has them.
 *
 * It draws names as a tree, by their dots, and shows a queue only where no other one's name goes on from its own. So the jobs of `shop` are at
 * `shop.(jobs)`, its dead letters at `shop.dead`, and `shop.orders.(jobs)` is beside them. Plain names, as in links of our pages, are read too.
 */

const JOBS = '.(jobs)';
/** What the jobs module adds to a name; no other queue's name ends in it. */
const DEAD = '.dead';

/** A queue of the board. */
export interface BoardQueue {
  /** The queue whose jobs, or whose dead letters, it has. */
  readonly queue: string;
  readonly isDead: boolean;
}

/** The name of a queue on the board. */
export function boardName({ queue, isDead }: BoardQueue): string {
  return `${queue}${isDead ? DEAD : JOBS}`;
}

/** What a name of the board, or a plain one, means. */
export function readName(name: string): BoardQueue {
  if (name.endsWith(DEAD)) return { queue: name.slice(0, -DEAD.length), isDead: true };
  return { queue: name.endsWith(JOBS) ? name.slice(0, -JOBS.length) : name, isDead: false };
}
