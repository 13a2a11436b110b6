/** The doctor's report in words, for a terminal. */
import { formatMs } from '../durations.ts';
import { FEATURES, type Feature } from './capabilities.ts';
import type { Report } from './doctor.ts';

const BYTE_UNITS = ['B', 'KB', 'MB', 'GB', 'TB'] as const;

function formatBytes(bytes: number): string {
  const power = Math.min(BYTE_UNITS.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${Number((bytes / 1024 ** power).toPrecision(3))} ${BYTE_UNITS[power]}`;
}

/**
 * The report as lines for a person.
 *
 * @example
 * console.log(formatReport(await platform.diagnose()).join('\n'));
 */
export function formatReport(report: Report): string[] {
  const { capabilities, roundTrip } = report;
  const has = (Object.keys(FEATURES) as Feature[]).filter((feature) => capabilities.features[feature]);
  const lacks = (Object.keys(FEATURES) as Feature[]).filter((feature) => !capabilities.features[feature]);
  const lines = [`${report.topology} at ${report.address}`];
  for (const node of report.nodes) {
    const { memory, persistence, connections } = node;
    const limit = memory.limitBytes === 0 ? 'no limit' : `limit ${formatBytes(memory.limitBytes)}`;
    lines.push(
      `  ${node.address}`,
      `    server         ${node.server}, ${node.role}, up ${formatMs(node.uptimeSeconds * 1_000)}, ${node.replicas} replicas`,
      `    persistence    append-only file ${onOff(persistence.appendOnly)}, snapshots ${onOff(persistence.snapshots)}, last write ${persistence.lastWriteOk ? 'ok' : 'FAILED'}`,
      `    eviction       ${node.evictionPolicy}`,
      `    memory         ${formatBytes(memory.usedBytes)}, ${limit}`,
      `    connections    ${connections.used} of ${connections.limit}`,
    );
  }
  lines.push(
    `  clock skew       ${report.clockSkewMs} ms`,
    `  round trip       median ${formatMs(roundTrip.medianMs)}, p99 ${formatMs(roundTrip.p99Ms)} of ${roundTrip.samples}`,
    `  can              ${has.map((feature) => FEATURES[feature].what).join(', ') || 'nothing beyond the basics'}`,
    `  cannot           ${lacks.map((feature) => FEATURES[feature].what).join(', ') || 'nothing is missing'}`,
    '',
  );
  if (report.findings.length === 0) lines.push('no findings: all is well');
  for (const { severity, found, means, mend } of report.findings) {
    lines.push(`${severity}: ${found}`, `    means: ${means}`, `    mend:  ${mend}`);
  }
  return lines;
}

function onOff(value: boolean | undefined): string {
  return value === undefined ? 'unknown' : value ? 'on' : 'off';
}
