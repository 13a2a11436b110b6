/** Flights by key: what a Map would hold. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Flight } from '../../src/cache/flight.ts';
import { FlightTable } from '../../src/cache/flight-table.ts';
import { hashOf } from '../../src/cache/keys.ts';

const flightOf = (key: string, hash = hashOf(key)): Flight => new Flight(key, hash, []);

test('whatever comes and goes, it holds what a Map would, also where all keys have one hash', () => {
  const change = fc.record({ key: fc.integer({ min: 0, max: 300 }), isAdded: fc.boolean() });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 1_000 }), fc.boolean(), (changes, isOneHash) => {
      const hash = (key: string): number => (isOneHash ? 7 : hashOf(key));
      const table = new FlightTable();
      const known = new Map<string, Flight>();
      const removals: boolean[] = [];
      for (const { key: number, isAdded } of changes) {
        const key = `key:${number}`;
        const flight = known.get(key);
        expect(table.get(key, hash(key))).toBe(flight);
        if (isAdded && !flight) {
          const added = flightOf(key, hash(key));
          table.add(added);
          known.set(key, added);
        } else if (!isAdded && flight) {
          removals.push(table.remove(flight), !table.remove(flight));
          known.delete(key);
        }
        expect(table.size).toBe(known.size);
      }
      expect(removals).not.toContain(false);
      expect(new Set(table.all())).toEqual(new Set(known.values()));
    }),
    { numRuns: 50 },
  );
});

test('it takes many, and is as it was once they have gone', () => {
  const table = new FlightTable();
  const flights = Array.from({ length: 20_000 }, (_, index) => flightOf(`key:${index}`));
  for (const flight of flights) table.add(flight);
  for (const flight of flights) expect(table.get(flight.key, flight.hash)).toBe(flight);
  for (const flight of flights) expect(table.remove(flight)).toBe(true);
  expect([table.size, table.all()]).toEqual([0, []]);
});

test("one that is not there is not removed, and its key stays another's", () => {
  const table = new FlightTable();
  const flight = flightOf('key');
  table.add(flight);
  expect(table.remove(flightOf('key'))).toBe(false);
  expect(table.get('key', hashOf('key'))).toBe(flight);
});
