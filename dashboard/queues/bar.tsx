/** The way back: our navigation, above Bull Board's own page. */
import { renderToString } from 'preact-render-to-string';
import type { View } from '../desk.ts';
import { MOST_SHOWN } from './known-queues.ts';

/** The bar as HTML. `total` is how many queues there are. */
export function barHtml(view: View, total: number): string {
  return renderToString(<Bar view={view} total={total} />);
}

function Bar({ view, total }: { view: View; total: number }) {
  const { pages, path, may, user, environment } = view;
  const links = pages.filter(({ nav, needs }) => nav !== undefined && may(needs));
  return (
    <header class="millrace-bar">
      <a class="brand" href={path('/')}>
        Millrace
      </a>
      {environment !== undefined && <span class="environment">{environment}</span>}
      <nav aria-label="Pages">
        {links.map((page) => (
          <a key={page.path} href={path(page.path)} aria-current={page.path === '/queues' ? 'page' : undefined}>
            {page.nav}
          </a>
        ))}
      </nav>
      {total > MOST_SHOWN && (
        <a class="note" href={path('/queues/find')}>
          {MOST_SHOWN} of {total.toLocaleString('en-US')} queues are shown: find another
        </a>
      )}
      <span class="user">
        {user.name} <span class="role">{user.role}</span>
      </span>
    </header>
  );
}

/** What is shown until Bull Board's scripts have run, and where none may. */
export function waitingHtml(view: View): string {
  return renderToString(
    <div class="millrace-waiting">
      <p>Loading</p>
      <noscript>
        This page needs script. <a href={view.path('/')}>The overview</a> does not.
      </noscript>
    </div>,
  );
}
