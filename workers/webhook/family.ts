/** Webhooks, as a worker's process has them. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { count, duration, flag, limit } from '../env-values.ts';
import { optionsOf, type Family, type Variables } from '../family.ts';
import { createWebhookHandler, type WebhookOptions } from '../webhook-deliver.ts';
import { webhookDeliver } from './contract.ts';

/** Options of the webhook jobs that are configured. */
export interface WebhookSettings {
  webhooks?: WebhookOptions | undefined;
}

type Secrets = Record<string, string[]>;

/** `true`, `false`, or networks with commas between. */
const networks = z
  .string()
  .transform((text) => (/^(?:true|1|false|0)$/.test(text) ? /^(?:true|1)$/.test(text) : text.split(/[\s,]+/)));
/** `name=whsec_...`, several secrets of one with commas between, several names with spaces or lines. */
const secrets = z.string().transform((text, context): Secrets => {
  const entries = text
    .split(/\s+/)
    .filter((entry) => entry !== '')
    .map((entry) => /^([\w.-]+)=(.+)$/.exec(entry));
  if (!entries.every((entry) => entry !== null) || entries.length === 0) {
    context.addIssue('expected name=whsec_..., or several of them with spaces between');
    return z.NEVER;
  }
  const names = entries.map(([, name = '']) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) context.addIssue(`expected each name once, got ${twice} twice; commas join its secrets`);
  return Object.fromEntries(entries.map(([, name = '', list = '']) => [name, list.split(',')]));
});
const secretsFile = z.string().transform((file, context) => {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    context.addIssue(`expected a file that can be read (${(error as NodeJS.ErrnoException).code})`);
    return z.NEVER;
  }
});

const WEBHOOKS: Variables = {
  secrets: 'MILLRACE_WEBHOOK_SECRETS',
  perEndpoint: 'MILLRACE_WEBHOOK_PER_ENDPOINT',
  timeout: 'MILLRACE_WEBHOOK_TIMEOUT',
  redirects: 'MILLRACE_WEBHOOK_REDIRECTS',
  maxRetryAfter: 'MILLRACE_WEBHOOK_MAX_RETRY_AFTER',
  clientErrors: 'MILLRACE_WEBHOOK_CLIENT_ERRORS',
  showAnswers: 'MILLRACE_WEBHOOK_SHOW_ANSWERS',
  allowHttp: 'MILLRACE_WEBHOOK_ALLOW_HTTP',
  allowPrivate: 'MILLRACE_WEBHOOK_ALLOW_PRIVATE',
};

export const webhookFamily: Family<WebhookSettings> = {
  prefix: 'WEBHOOK',
  variables: {
    MILLRACE_WEBHOOK_SECRETS: secrets,
    MILLRACE_WEBHOOK_SECRETS_FILE: secretsFile.pipe(secrets),
    MILLRACE_WEBHOOK_PER_ENDPOINT: limit,
    MILLRACE_WEBHOOK_TIMEOUT: duration,
    MILLRACE_WEBHOOK_REDIRECTS: count,
    MILLRACE_WEBHOOK_MAX_RETRY_AFTER: duration,
    MILLRACE_WEBHOOK_CLIENT_ERRORS: z.enum(['retry', 'dead'], { error: 'expected retry or dead' }),
    MILLRACE_WEBHOOK_SHOW_ANSWERS: flag,
    MILLRACE_WEBHOOK_ALLOW_HTTP: flag,
    MILLRACE_WEBHOOK_ALLOW_PRIVATE: networks,
  },
  settings(values, faults) {
    const given = values['MILLRACE_WEBHOOK_SECRETS'] as Secrets | undefined;
    const ofFile = values['MILLRACE_WEBHOOK_SECRETS_FILE'] as Secrets | undefined;
    const all = (given ?? ofFile) && { ...ofFile, ...given };
    const withFile = { ...values, MILLRACE_WEBHOOK_SECRETS: all };
    return { webhooks: optionsOf(WEBHOOKS, withFile, createWebhookHandler, faults) };
  },
  secretsOf: ({ webhooks }) => Object.values(webhooks?.secrets ?? {}).flat(),
  parts: ({ webhooks }) => [
    {
      name: webhookDeliver.name,
      needs: 'set MILLRACE_WEBHOOK_SECRETS',
      handler: webhooks && createWebhookHandler(webhooks),
    },
  ],
};
