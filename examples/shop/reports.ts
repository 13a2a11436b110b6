/**
 * Reports: a customer's orders as a file, one at a time for each customer, with progress, to be cancelled, to be downloaded.
 *
 * Shows locks and `report.export`.
 */
import { Router, type Request } from 'express';
import type { JobInfo, Platform } from 'millrace';
import { requireSession } from 'millrace/http';
import { report, type AnyReport, type ReportResult } from 'millrace/workers';
import { z } from 'zod';
import { bodyOf, Refused, userOf } from './http.ts';
import { reportExport } from './jobs.ts';
import { model } from './orders.ts';

/** The orders of whoever asks, in the order in which they came. An attempt goes on behind the last position that is in the file. */
export function orderReport({ streams }: Pick<Platform, 'streams'>): AnyReport {
  return report({
    async *rows(_params: unknown, { after, signal, user }) {
      const from = typeof after === 'number' ? after + 1 : 1;
      for await (const event of streams.events(model.events).all({ types: ['placed'], from, signal }))
        if (event.data.customer === user) yield event;
    },
    cursor: ({ position }) => position,
    columns: [
      { name: 'order', value: ({ streamId }) => streamId },
      { name: 'placed', value: ({ at }) => at.toISOString() },
      { name: 'pieces', value: ({ data }) => data.items.reduce((sum, { quantity }) => sum + quantity, 0) },
      { name: 'euros', value: ({ data }) => data.totalCents / 100 },
    ],
  });
}

const asked = z.strictObject({ format: z.enum(['csv', 'jsonl']).default('csv') });

/* eslint-disable oxc/no-async-endpoint-handlers -- Express 5 waits for them, and hands on what they throw. */
export function reportRoutes({ jobs }: Platform, folder: string): Router {
  /** The job, if it is one of this user's reports. */
  async function mine(request: Request<{ id: string }>): Promise<JobInfo> {
    const info = await jobs.get(request.params.id);
    const input = info?.name === reportExport.name ? (info.input as { user?: unknown } | undefined) : undefined;
    if (!info || input?.user !== userOf(request)) throw new Refused(404, 'you have no such report');
    return info;
  }

  return Router()
    .use('/reports', requireSession())
    .post('/reports', async (request, response) => {
      const { format } = await bodyOf(request, asked);
      const { id } = await jobs.enqueue(reportExport, { report: 'orders', user: userOf(request), format });
      response.status(202).location(`/reports/${id}`).json({ id });
    })
    .get('/reports/:id', async (request, response) => {
      const { state, progress, result } = await mine(request);
      response.json({ state, progress, result });
    })
    .get('/reports/:id/file', async (request, response) => {
      const { state, result } = await mine(request);
      if (state !== 'completed') throw new Refused(409, `the report is ${state}`);
      const { file } = result as ReportResult;
      response.download(file, file, { root: folder }); // Below a root, as a folder such as .millrace is refused in a path.
    })
    .delete('/reports/:id', async (request, response) => {
      const { id } = await mine(request);
      response.json(await jobs.cancel(id, { reason: 'by the customer' }));
    });
}
