/** Finds out how the browser sees the dashboard: under which path, at what time, in which colours. */
import type { Application, Request, RequestHandler } from 'express';
import { systemClock, type Logger } from 'millrace';
import { keepFrame, type Theme } from '../desk.ts';
import type { CheckedOptions } from '../options.ts';
import type { Assets } from './assets.ts';
import { cookieOf } from './flash.ts';

export const THEME_COOKIE = 'millrace-theme';
const PREFIX = /^(\/[\w.~-]+)+$/;

type Trust = (address: string | undefined, hop: number) => boolean;

/** Middleware that keeps the frame of each request; frameOf() gives it. */
export function framed(
  app: Application,
  { basePath, environment, secureCookies }: CheckedOptions,
  assets: Assets,
  log: Logger,
): RequestHandler {
  let isWarned = false;
  return (request, response, next) => {
    if (!isWarned && request.headers['x-forwarded-proto'] !== undefined && !isFromTrusted(app, request)) {
      isWarned = true;
      log.warn('X-Forwarded-* came from a proxy that is not trusted, so that they are not heeded; see trustProxy');
    }
    const base = basePath ?? `${forwardedPrefix(app, request)}${request.baseUrl}`;
    const path = (to: string): string => base + to;
    keepFrame(response, {
      basePath: base,
      theme: themeOf(request),
      now: systemClock.wallMs(),
      here: request.url,
      address: request.ip ?? request.socket.remoteAddress ?? '',
      isSecure: secureCookies === 'auto' ? request.secure : secureCookies,
      environment,
      path,
      asset: (name) => path(`/assets/${assets.link(name)}`),
    });
    next();
  };
}

/** What the proxy before us has taken away from the path, if it is one that is believed. */
function forwardedPrefix(app: Application, request: Request): string {
  const value = request.headers['x-forwarded-prefix'];
  if (!isFromTrusted(app, request) || typeof value !== 'string') return '';
  const prefix = value.replace(/\/+$/, '');
  return PREFIX.test(prefix) ? prefix : '';
}

function isFromTrusted(app: Application, { socket }: Request): boolean {
  return (app.get('trust proxy fn') as Trust)(socket.remoteAddress, 0);
}

function themeOf(request: Request): Theme {
  const value = cookieOf(request, THEME_COOKIE);
  return value === 'light' || value === 'dark' ? value : 'auto';
}
