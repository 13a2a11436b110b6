/** Headers that a job may add to its request: none that frames it, signs it, or says where it goes. */
import { z } from 'zod';

const NAME = /^[A-Za-z0-9-]{1,100}$/;
const VALUE = /^[\x20-\x7e]*$/;
const OUR_OWN =
  /^(?:host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|proxy-.*|content-.*|webhook-.*|user-agent)$/i;

/** By their names. */
export const requestHeadersSchema: z.ZodType<Record<string, string>, Record<string, string>> = z
  .record(
    z
      .string()
      .regex(NAME, 'expected the name of a header: letters, digits and -')
      .refine((name) => !OUR_OWN.test(name), 'the request has this header by itself, or not at all'),
    z.string().max(4_000).regex(VALUE, 'expected one line of ASCII'),
  )
  .refine((headers) => Object.keys(headers).length <= 50, 'expected at most 50 headers');
