/** What stands around the values of a page: panels, notices, tabs, pages of a list, figures. */
import type { ComponentChildren } from 'preact';
import { useView } from './context.ts';

/** What stands where nothing is, in a sentence that says why or what to do. */
export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

/** Something that must be read. */
export function Notice({ tone = 'plain', children }: { tone?: 'good' | 'bad' | 'plain'; children: ComponentChildren }) {
  return (
    <div class={`notice ${tone}`} role={tone === 'bad' ? 'alert' : 'status'}>
      {children}
    </div>
  );
}

/** A part of a page under a heading of its own; `actions` stand at the end of that line. */
export function Panel({
  title,
  actions,
  id,
  children,
}: {
  title: string;
  actions?: ComponentChildren;
  id?: string;
  children: ComponentChildren;
}) {
  return (
    <section class="panel" id={id}>
      <div class="panel-head">
        <h2>{title}</h2>
        {actions !== undefined && <div class="actions">{actions}</div>}
      </div>
      {children}
    </section>
  );
}

/** The way back to the list that a page is of. */
export function Back({ to, children }: { to: string; children: ComponentChildren }) {
  const { path } = useView();
  return (
    <p class="back">
      <a href={path(to)}>{children}</a>
    </p>
  );
}

/** Figures side by side. */
export function Stats({ children }: { children: ComponentChildren }) {
  return <dl class="stats">{children}</dl>;
}

/** One figure: what it is, and its value. With `to` it is a link. */
export function Stat({ label, to, children }: { label: string; to?: string; children: ComponentChildren }) {
  const { path } = useView();
  return (
    <div class="stat">
      <dt>{label}</dt>
      <dd>{to === undefined ? children : <a href={path(to)}>{children}</a>}</dd>
    </div>
  );
}

/** Ways to look at one thing, each with a link of its own. */
export function Tabs({
  label,
  tabs,
  active,
}: {
  label: string;
  tabs: ReadonlyArray<{ to: string; text: string; count?: number | undefined }>;
  /** The `to` of the one that is shown. */
  active: string;
}) {
  const { path } = useView();
  return (
    <nav class="tabs" aria-label={label}>
      {tabs.map(({ to, text, count }) => (
        <a key={to} href={path(to)} aria-current={to === active ? 'page' : undefined}>
          {text}
          {count !== undefined && <span class="tab-count">{count}</span>}
        </a>
      ))}
    </nav>
  );
}

/** Links to the pages before and after; each is undefined where there is none. */
export function Pager({
  previous,
  previousText = 'Back',
  next,
  nextText = 'More',
  children,
}: {
  previous?: string | undefined;
  previousText?: string;
  next?: string | undefined;
  nextText?: string;
  /** What stands between them, such as how many there are. */
  children?: ComponentChildren;
}) {
  const { path } = useView();
  if (previous === undefined && next === undefined && children === undefined) return null;
  return (
    <nav class="pager" aria-label="Pages of the list">
      {previous !== undefined && (
        <a class="button" rel="prev" href={path(previous)}>
          {previousText}
        </a>
      )}
      <span>{children}</span>
      {next !== undefined && (
        <a class="button" rel="next" href={path(next)}>
          {nextText}
        </a>
      )}
    </nav>
  );
}
