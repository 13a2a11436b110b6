/** Mail, as a worker's process has it. */
import { z } from 'zod';
import { createEmailHandler, type EmailOptions } from '../email-send.ts';
import { count, duration, flag, limit } from '../env-values.ts';
import { optionsOf, type Family, type Variables } from '../family.ts';
import { emailSend } from './contract.ts';

/** Options of the mail jobs that are configured. */
export interface MailSettings {
  email?: EmailOptions | undefined;
}

const EMAIL: Variables = {
  smtp: 'SMTP_URL',
  from: 'MILLRACE_MAIL_FROM',
  templates: 'MILLRACE_MAIL_TEMPLATES',
  perDomain: 'MILLRACE_MAIL_PER_DOMAIN',
  connections: 'MILLRACE_MAIL_CONNECTIONS',
  timeout: 'MILLRACE_MAIL_TIMEOUT',
  requireTls: 'MILLRACE_MAIL_REQUIRE_TLS',
};

export const mailFamily: Family<MailSettings> = {
  prefix: 'MAIL',
  variables: {
    SMTP_URL: z.string(),
    MILLRACE_MAIL_FROM: z.string(),
    MILLRACE_MAIL_TEMPLATES: z.string(),
    MILLRACE_MAIL_PER_DOMAIN: limit,
    MILLRACE_MAIL_CONNECTIONS: count,
    MILLRACE_MAIL_TIMEOUT: duration,
    MILLRACE_MAIL_REQUIRE_TLS: flag,
  },
  settings: (values, faults) => ({ email: optionsOf(EMAIL, values, createEmailHandler, faults) }),
  secretsOf({ email }) {
    const password = email === undefined ? '' : new URL(email.smtp).password;
    return password === '' ? [] : [password, decodeURIComponent(password)];
  },
  parts: ({ email }) => [
    {
      name: emailSend.name,
      needs: 'set SMTP_URL and MILLRACE_MAIL_FROM',
      handler: email && createEmailHandler(email),
    },
  ],
};
