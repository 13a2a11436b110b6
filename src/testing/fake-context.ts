/** What a handler is given when no worker runs it. */
import { MillraceError } from '../errors.ts';
import type { JobContext, JobModules } from '../jobs/handler.ts';

/** What JavaScript and those who print a value look for in any object. */
const LOOKED_FOR = new Set(['then', 'toJSON', 'asymmetricMatch', '$$typeof', 'nodeType', 'inspect']);

/**
 * The context, with the modules beside its own fields. A module that was not given is no silent `undefined`: the handler fails, and
 * the error says what to pass.
 */
export function fakeContext(
  own: Omit<JobContext, keyof JobModules>,
  modules: Readonly<Record<string, unknown>>,
): JobContext {
  const context = Object.defineProperties({}, { ...descriptors(modules), ...descriptors(own) });
  return new Proxy(context as JobContext, {
    get(target, name, receiver): unknown {
      if (typeof name === 'symbol' || name in target || LOOKED_FOR.has(name))
        return Reflect.get(target, name, receiver);
      const message = `the handler asks for ${name}, which is no part of this test; give it one with modules: { ${name} }`;
      throw new MillraceError('OPTIONS_INVALID', message, { name });
    },
  });
}

function descriptors(object: object): PropertyDescriptorMap {
  return Object.getOwnPropertyDescriptors(object);
}
