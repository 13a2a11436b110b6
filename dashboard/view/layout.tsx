/** The frame of every page that takes a sign-in: navigation, who is signed in, the message of the action before, the page. */
import type { ComponentChildren } from 'preact';
import { CsrfField, Notice } from './components.tsx';
import { useView } from './context.ts';

/** What a page puts into the frame. */
export interface LayoutParts {
  title: string;
  /** The path of the page in the navigation, such as `/jobs`. */
  active: string;
  children: ComponentChildren;
}

export function Layout({ title, active, children }: LayoutParts) {
  const { flash } = useView();
  return (
    <>
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <Bar active={active} />
      <main id="content" tabIndex={-1}>
        <h1>{title}</h1>
        {flash && <Notice tone={flash.tone}>{flash.text}</Notice>}
        {children}
      </main>
    </>
  );
}

/** The bar above every page, Bull Board's too. */
export function Bar({ active, children }: Pick<LayoutParts, 'active'> & { children?: ComponentChildren }) {
  const { path, environment } = useView();
  return (
    <header class="bar">
      <a class="brand" href={path('/')}>
        Millrace
      </a>
      {environment !== undefined && <span class="environment">{environment}</span>}
      <Navigation active={active} />
      {children}
      <Account />
    </header>
  );
}

function Navigation({ active }: { active: string }) {
  const { pages, path, may } = useView();
  return (
    <nav aria-label="Pages">
      <ul>
        {pages.map((page) =>
          page.nav !== undefined && may(page.needs) ? (
            <li key={page.path}>
              <a href={path(page.path)} aria-current={page.path === active ? 'page' : undefined}>
                {page.nav}
              </a>
            </li>
          ) : null,
        )}
      </ul>
    </nav>
  );
}

const THEME_NAMES = { auto: 'As the system', light: 'Light', dark: 'Dark' } as const;

function Account() {
  const { user, path, here, theme } = useView();
  return (
    <details class="account">
      <summary>
        {user.name} <span class="role">{user.role}</span>
      </summary>
      <div class="menu">
        <form method="post" action={path('/theme')}>
          <CsrfField />
          <input type="hidden" name="next" value={here} />
          <fieldset>
            <legend>Colours</legend>
            {(['auto', 'light', 'dark'] as const).map((name) => (
              <button key={name} class="quiet" name="theme" value={name} aria-pressed={theme === name}>
                {THEME_NAMES[name]}
              </button>
            ))}
          </fieldset>
        </form>
        <form method="post" action={path('/sign-out')}>
          <CsrfField />
          <button class="quiet">Sign out</button>
        </form>
      </div>
    </details>
  );
}
