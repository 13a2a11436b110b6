/** What only the collector knows of the fleet, for Prometheus: `millrace_fleet_workers{state}` and `millrace_alerts_firing{severity}`. */
import type { Metrics } from 'millrace';
import type { Hub } from './hub.ts';
import type { Snapshot } from './snapshot.ts';

/** The hubs of a registry; several dashboards of one platform share its metrics. */
const hubs = new WeakMap<Metrics, Set<Hub>>();

/** Tells the metrics what the hub hears. @returns what ends it */
export function collectLive(metrics: Metrics, hub: Hub): () => void {
  const known = hubs.get(metrics) ?? define(metrics);
  known.add(hub);
  return () => known.delete(hub);
}

function define(metrics: Metrics): Set<Hub> {
  const own = new Set<Hub>();
  hubs.set(metrics, own);
  // An old value would look like a new one, so there is none.
  const latest = (): Snapshot | undefined => [...own].find(({ state }) => state === 'live')?.latest;
  metrics.gauge({
    name: 'millrace_fleet_workers',
    help: 'Worker processes by state, as the dashboard sees them; silent ones are not heard of though they have not stopped.',
    labels: ['state'],
    collect: () => {
      const { running, draining, silent } = latest()?.workerStates ?? {};
      const values = { running, draining, silent };
      return Object.entries(values).flatMap(([state, value]) =>
        value === undefined ? [] : { labels: { state }, value },
      );
    },
  });
  metrics.gauge({
    name: 'millrace_alerts_firing',
    help: 'Alerts of the dashboard that fire.',
    labels: ['severity'],
    collect: () => {
      const alerts = latest()?.alerts;
      if (!alerts) return [];
      return (['warning', 'critical'] as const).map((severity) => ({
        labels: { severity },
        value: alerts.filter((alert) => alert.severity === severity).length,
      }));
    },
  });
  return own;
}
