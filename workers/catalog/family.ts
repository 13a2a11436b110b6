/** Catalogues, as a worker's process has them: where items come from is code's to say, so no variable turns these jobs on. */
import { createWarmHandler, warmSchedules } from '../cache-warm.ts';
import { createCatalogHandler } from '../catalog-refresh.ts';
import type { Family } from '../family.ts';
import { cacheWarm, catalogRefresh } from './contract.ts';
import type { CatalogsOptions } from './options.ts';

/** Options of the jobs that rebuild catalogues and keep them warm. */
export interface CatalogSettings {
  catalog?: CatalogsOptions | undefined;
}

const NEEDS = 'in code: { catalog: { catalogs } }';

export const catalogFamily: Family<CatalogSettings> = {
  prefix: 'CATALOG',
  variables: {},
  settings: () => ({}),
  parts: ({ catalog }) => [
    { name: catalogRefresh.name, needs: NEEDS, handler: catalog && createCatalogHandler(catalog) },
    {
      name: cacheWarm.name,
      needs: NEEDS,
      handler: catalog && createWarmHandler(catalog),
      schedules: catalog && warmSchedules(catalog),
    },
  ],
};
