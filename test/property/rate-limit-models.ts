/**
 * What each algorithm means, written down as plainly as possible: whole numbers, lists of what was taken, no shortcuts.
 *
 * A model tells only how much is left at a time, and takes; when a call would pass again follows from asking it at later times.
 */
export interface Model {
  /** What was taken at times that are still to come counts from now on: the clock was set back. */
  settle(atUs: number): void;
  /** How much could be taken at once. */
  left(atUs: number): number;
  /** Takes the cost, at most up to the limit. */
  take(atUs: number, cost: number): void;
  refund(cost: number): void;
  copy(): Model;
}

/** What a policy of the tests is made of. */
export interface Terms {
  algorithm: 'gcra' | 'token-bucket' | 'fixed-window' | 'sliding-window' | 'sliding-log';
  limit: number;
  perMs: number;
  burst: number;
  align: boolean;
}

/** The model of a policy. */
export function modelOf({ algorithm, limit, perMs, burst, align }: Terms): Model {
  const perNs = BigInt(perMs) * 1_000_000n;
  const intervalNs = (perNs + BigInt(limit) - 1n) / BigInt(limit);
  switch (algorithm) {
    case 'gcra':
      return theoreticalArrival(BigInt(burst), intervalNs, 0n);
    case 'token-bucket':
      return bucket(BigInt(burst) * intervalNs, intervalNs, BigInt(burst) * intervalNs, 0);
    case 'fixed-window':
      return fixedWindow(limit, perMs * 1_000, align, 0, 0);
    case 'sliding-window':
      return slidingWindow(limit, perMs * 1_000, new Map());
    case 'sliding-log':
      return slidingLog(limit, perMs * 1_000, []);
  }
}

/** GCRA, as its definition has it: when the next call would be due if all came evenly. */
function theoreticalArrival(burst: bigint, intervalNs: bigint, dueNs: bigint): Model {
  const debt = (atUs: number): bigint => greatest(dueNs - ns(atUs), 0n);
  return {
    settle: (atUs) => (dueNs = least(dueNs, ns(atUs) + burst * intervalNs)),
    left: (atUs) => Number((burst * intervalNs - debt(atUs)) / intervalNs),
    take: (atUs, cost) => (dueNs = ns(atUs) + least(debt(atUs) + BigInt(cost) * intervalNs, burst * intervalNs)),
    refund: (cost) => (dueNs -= BigInt(cost) * intervalNs),
    copy: () => theoreticalArrival(burst, intervalNs, dueNs),
  };
}

/** A bucket that drips: a token is `intervalNs` of dripping. It knows nothing of a clock that is set back. */
function bucket(capacityNs: bigint, intervalNs: bigint, levelNs: bigint, sinceUs: number): Model {
  const level = (atUs: number): bigint => least(capacityNs, levelNs + ns(atUs - sinceUs));
  return {
    settle: () => undefined,
    left: (atUs) => Number(level(atUs) / intervalNs),
    take(atUs, cost) {
      levelNs = greatest(level(atUs) - BigInt(cost) * intervalNs, 0n);
      sinceUs = atUs;
    },
    refund: (cost) => (levelNs += BigInt(cost) * intervalNs),
    copy: () => bucket(capacityNs, intervalNs, levelNs, sinceUs),
  };
}

/** A count that ends. */
function fixedWindow(limit: number, perUs: number, align: boolean, taken: number, endsUs: number): Model {
  const endOf = (atUs: number): number =>
    align ? (Math.floor(atUs / perUs) + 1) * perUs : Math.ceil(atUs / 1_000) * 1_000 + perUs;
  const counted = (atUs: number): number => (atUs < endsUs ? taken : 0);
  return {
    settle(atUs) {
      if (taken > 0 && endsUs > Math.ceil(atUs / 1_000) * 1_000 + perUs) endsUs = endOf(atUs);
    },
    left: (atUs) => limit - counted(atUs),
    take(atUs, cost) {
      if (counted(atUs) === 0) [taken, endsUs] = [0, endOf(atUs)];
      taken = Math.min(limit, taken + cost);
    },
    refund(cost) {
      taken = Math.max(0, taken - cost);
    },
    copy: () => fixedWindow(limit, perUs, align, taken, endsUs),
  };
}

/** What was taken in each window; the one before counts by how much of it the last `per` still covers. */
function slidingWindow(limit: number, perUs: number, taken: Map<number, number>): Model {
  const indexOf = (atUs: number): number => Math.floor(atUs / perUs);
  const newest = (): number => Math.max(...taken.keys());
  return {
    settle(atUs) {
      const [from, to] = [newest(), indexOf(atUs)];
      if (taken.size === 0 || from <= to) return;
      taken = new Map([
        [to, taken.get(from) ?? 0],
        [to - 1, taken.get(from - 1) ?? 0],
      ]);
    },
    left(atUs) {
      const index = indexOf(atUs);
      const coveredUs = (index + 1) * perUs - atUs;
      const weighed =
        BigInt(taken.get(index - 1) ?? 0) * BigInt(coveredUs) + BigInt(taken.get(index) ?? 0) * BigInt(perUs);
      return Math.max(0, Math.floor(Number((BigInt(limit) * BigInt(perUs) - weighed) / BigInt(perUs))));
    },
    take(atUs, cost) {
      const index = indexOf(atUs);
      taken.set(index, Math.min(limit, (taken.get(index) ?? 0) + cost));
    },
    refund(cost) {
      if (taken.size === 0) return;
      const from = newest();
      const ofNewest = Math.min(cost, taken.get(from) ?? 0);
      taken.set(from, (taken.get(from) ?? 0) - ofNewest);
      if (taken.has(from - 1)) taken.set(from - 1, Math.max(0, (taken.get(from - 1) ?? 0) - (cost - ofNewest)));
    },
    copy: () => slidingWindow(limit, perUs, new Map(taken)),
  };
}

/** The time of each unit. */
function slidingLog(limit: number, perUs: number, times: number[]): Model {
  return {
    settle: (atUs) => (times = times.map((time) => Math.min(time, atUs))),
    left: (atUs) => limit - times.filter((time) => time > atUs - perUs).length,
    take(atUs, cost) {
      const live = times.filter((time) => time > atUs - perUs);
      times = [...live, ...Array.from({ length: cost }, () => atUs)].slice(-limit);
    },
    refund: (cost) => (times = times.slice(0, -cost)),
    copy: () => slidingLog(limit, perUs, [...times]),
  };
}

function ns(us: number): bigint {
  return BigInt(us) * 1_000n;
}

function least(left: bigint, right: bigint): bigint {
  return left < right ? left : right;
}

function greatest(left: bigint, right: bigint): bigint {
  return left > right ? left : right;
}
