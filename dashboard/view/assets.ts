/**
 * Scripts, styles and what else pages link to: read once, served to all who ask, as nothing in them is secret.
 *
 * Each link bears a hash of the file, so that browsers keep it for good and a new version has a new link.
 */
import type { RequestHandler } from 'express';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { Page } from '../desk.ts';
import { packageFile } from '../package-files.ts';
import { themeCss } from './theme.ts';

interface Asset {
  readonly type: string;
  readonly content: Buffer;
  readonly version: string;
}

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** The files of a dashboard. */
export interface Assets {
  /** What stands behind `/assets/` in a link to the file. @throws TypeError for a file that is not there: a page names it wrongly */
  link(name: string): string;
  /** Answers `/assets/:name`. */
  readonly serve: RequestHandler;
}

/** Reads the files: those of dashboard/client, the styles, and what the pages bring. */
export function readAssets(pages: readonly Page[]): Assets {
  const assets = new Map<string, Asset>();
  const add = (name: string, content: Buffer): void => {
    const version = createHash('sha256').update(content).digest('base64url').slice(0, 12);
    assets.set(name, { type: TYPES[extname(name)] ?? 'application/octet-stream', content, version });
  };
  const client = packageFile('dashboard/client');
  for (const name of readdirSync(client)) if (name.endsWith('.js')) add(name, readFileSync(join(client, name)));
  add('styles.css', Buffer.from(themeCss() + readFileSync(packageFile('dashboard/view/styles.css'), 'utf8')));
  add('bar.css', readFileSync(packageFile('dashboard/view/bar.css')));
  for (const { files = {} } of pages) for (const [name, file] of Object.entries(files)) add(name, readFileSync(file));
  return {
    link(name) {
      const asset = assets.get(name);
      if (!asset) throw new TypeError(`there is no file ${name} to link to`);
      return `${name}?v=${asset.version}`;
    },
    serve(request, response, next) {
      const asset = assets.get(String(request.params['name']));
      if (!asset) return next();
      const isCurrent = request.query['v'] === asset.version;
      response
        .set('Cache-Control', isCurrent ? 'public, max-age=31536000, immutable' : 'no-cache')
        .set('ETag', `"${asset.version}"`)
        .set('Content-Type', asset.type);
      if (request.fresh) response.status(304).end();
      else response.send(asset.content);
    },
  };
}
