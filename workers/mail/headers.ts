/** Headers that a job may add to its mail: none that decides where the mail goes or how it is read. */
import { z } from 'zod';
import { ONE_LINE } from '../one-line.ts';

const NAME = /^[A-Za-z0-9-]{1,76}$/;
const OUR_OWN =
  /^(?:from|sender|to|apparently-to|cc|bcc|reply-to|return-path|subject|date|message-id|received|mime-version|content-.*|dkim-.*|arc-.*|resent-.*|x-nodemailer.*)$/i;

/** By their names. */
export const headersSchema: z.ZodType<Record<string, string>, Record<string, string>> = z
  .record(
    z
      .string()
      .regex(NAME, 'expected the name of a header: letters, digits and -')
      .refine((name) => !OUR_OWN.test(name), 'the mail has this header by itself, or not at all'),
    z.string().max(2_000).regex(ONE_LINE, 'expected one line'),
  )
  .refine((headers) => Object.keys(headers).length <= 50, 'expected at most 50 headers');
