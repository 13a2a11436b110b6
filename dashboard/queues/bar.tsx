/** Our bar, above Bull Board's own page: the way back, and who is signed in. */
import { renderToString } from 'preact-render-to-string';
import type { View } from '../desk.ts';
import { ViewContext } from '../view/context.ts';
import { Bar } from '../view/layout.tsx';
import { MOST_SHOWN } from './known-queues.ts';
import { readName } from './names.ts';

/** The bar as HTML. `total` is how many queues there are. */
export function barHtml(view: View, total: number): string {
  return renderToString(
    <ViewContext.Provider value={view}>
      <Bar active="/queues">
        {total > MOST_SHOWN && (
          <a class="note" href={view.path('/queues/find')}>
            {MOST_SHOWN} of {total.toLocaleString('en-US')} queues are shown: find another
          </a>
        )}
      </Bar>
    </ViewContext.Provider>,
  );
}

/** What is shown until Bull Board's scripts have run, and where none may. */
export function waitingHtml(view: View, queue: string | undefined): string {
  const of = queue === undefined ? '' : `?${new URLSearchParams({ queue: readName(queue).queue })}`;
  return renderToString(
    <div class="millrace-waiting">
      <p>Loading</p>
      <noscript>
        This page needs script. <a href={view.path('/')}>The overview</a>,{' '}
        <a href={view.path(`/jobs${of}`)}>the jobs</a> and{' '}
        <a href={view.path(`/dead-letters${of}`)}>the dead letters</a> do not.
      </noscript>
    </div>,
  );
}
