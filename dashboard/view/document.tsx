/** The head and the frame of every page, also of those that nobody needs to sign in for. No script or style stands in it. */
import type { ComponentChildren } from 'preact';
import type { Theme } from '../desk.ts';

/** What a page's head needs to know. */
export interface DocumentParts {
  title: string;
  theme: Theme;
  /** The base path and the CSRF token, for scripts. */
  base: string;
  csrf: string | undefined;
  /** Links to files of ours, as view.asset() gives them. */
  styles: readonly string[];
  scripts: readonly string[];
  children: ComponentChildren;
}

export function Document({ title, theme, base, csrf, styles, scripts, children }: DocumentParts) {
  return (
    <html lang="en" data-theme={theme === 'auto' ? undefined : theme} data-base={base} data-csrf={csrf}>
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex, nofollow" />
        <title>{`${title} · Millrace`}</title>
        <link rel="icon" href="data:," />
        {styles.map((href) => (
          <link key={href} rel="stylesheet" href={href} />
        ))}
        {scripts.map((src) => (
          <script key={src} type="module" src={src} />
        ))}
      </head>
      <body>{children}</body>
    </html>
  );
}
