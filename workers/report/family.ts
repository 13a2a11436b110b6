/** Reports, as a worker's process has them: what is in them is code's to say, so no variable turns the job on. */
import type { Family } from '../family.ts';
import { createReportHandler, type ReportOptions } from '../report-export.ts';
import { reportExport } from './contract.ts';

/** Options of the job that writes reports. */
export interface ReportSettings {
  reports?: ReportOptions | undefined;
}

export const reportFamily: Family<ReportSettings> = {
  prefix: 'REPORT',
  variables: {},
  settings: () => ({}),
  parts: ({ reports }) => [
    {
      name: reportExport.name,
      needs: 'in code: { reports: { reports, folder } }',
      handler: reports && createReportHandler(reports),
    },
  ],
};
