/** A module that is never done with loading. */
export const never: unknown = await new Promise(() => undefined);
