/** The bare client on the bench's server, for what is measured against it and for the peers. */
import { Redis } from 'ioredis';

/** A client with its defaults. */
export function clientOn(url: string): Redis {
  return new Redis({ path: url.slice('unix://'.length) });
}
