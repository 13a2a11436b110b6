/** How components know who asks, and what time it is, without being told by each page. */
import { createContext } from 'preact';
import { useContext } from 'preact/hooks';
import type { View } from '../desk.ts';

export const ViewContext = createContext<View | undefined>(undefined);

/** The view of the request that is being answered. */
export function useView(): View {
  // Undefined only outside of render(), which no component is.
  return useContext(ViewContext) as View;
}
