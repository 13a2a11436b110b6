/**
 * The colours of the dashboard, by the names that Bull Board's theme has for them (shadcn tokens), so that one table dresses both.
 * Text on each ground has a contrast of 4.5 at least; status colours are for dots, bars and lines, and no text is written in them.
 */

/** Names that Bull Board knows, see its ThemeTokenName. */
export type Tokens = Readonly<Record<(typeof TOKEN_NAMES)[number], string>>;

const TOKEN_NAMES = [
  'background',
  'foreground',
  'card',
  'card-foreground',
  'popover',
  'popover-foreground',
  'primary',
  'primary-foreground',
  'secondary',
  'secondary-foreground',
  'muted',
  'muted-foreground',
  'accent',
  'accent-foreground',
  'destructive',
  'destructive-foreground',
  'border',
  'input',
  'ring',
  'sidebar',
  'sidebar-foreground',
  'sidebar-border',
  'chart-1',
  'chart-2',
  'chart-3',
  'chart-4',
  'chart-5',
  'status-failed',
  'status-completed',
  'status-waiting',
  'status-waiting-children',
  'status-prioritized',
  'status-active',
  'status-delayed',
  'status-paused',
  'radius',
  'font-sans',
  'font-mono',
] as const;

const FONTS = {
  radius: '6px',
  'font-sans': 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
  'font-mono': 'ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
};

export const LIGHT: Tokens = {
  background: '#f3f5f7',
  foreground: '#20262c',
  card: '#ffffff',
  'card-foreground': '#20262c',
  popover: '#ffffff',
  'popover-foreground': '#20262c',
  primary: '#0f6f64',
  'primary-foreground': '#ffffff',
  secondary: '#eaeef2',
  'secondary-foreground': '#20262c',
  muted: '#eaeef2',
  'muted-foreground': '#56616c',
  accent: '#e6f1ef',
  'accent-foreground': '#0b544c',
  destructive: '#b3302a',
  'destructive-foreground': '#ffffff',
  border: '#dbe1e7',
  input: '#8a96a3',
  ring: '#0f6f64',
  sidebar: '#ffffff',
  'sidebar-foreground': '#20262c',
  'sidebar-border': '#dbe1e7',
  'chart-1': '#16a34a',
  'chart-2': '#d5433c',
  'chart-3': '#2563eb',
  'chart-4': '#d97706',
  'chart-5': '#7c3aed',
  'status-failed': '#dc2626',
  'status-completed': '#16a34a',
  'status-waiting': '#d97706',
  'status-waiting-children': '#f97316',
  'status-prioritized': '#c026d3',
  'status-active': '#2563eb',
  'status-delayed': '#7c3aed',
  'status-paused': '#6b6560',
  ...FONTS,
};

export const DARK: Tokens = {
  background: '#151a21',
  foreground: '#d5dce4',
  card: '#1c232d',
  'card-foreground': '#d5dce4',
  popover: '#1c232d',
  'popover-foreground': '#d5dce4',
  primary: '#3ecfb2',
  'primary-foreground': '#0d1f1b',
  secondary: '#232b36',
  'secondary-foreground': '#d5dce4',
  muted: '#232b36',
  'muted-foreground': '#9aa5b4',
  accent: '#203038',
  'accent-foreground': '#8fe3d1',
  destructive: '#f08a84',
  'destructive-foreground': '#2a0f0d',
  border: '#2d3745',
  input: '#66748a',
  ring: '#3ecfb2',
  sidebar: '#1a2029',
  'sidebar-foreground': '#d5dce4',
  'sidebar-border': '#2d3745',
  'chart-1': '#34a85e',
  'chart-2': '#e0635c',
  'chart-3': '#5b8ad7',
  'chart-4': '#c9a13a',
  'chart-5': '#9374dc',
  'status-failed': '#e0635c',
  'status-completed': '#34a85e',
  'status-waiting': '#c9a13a',
  'status-waiting-children': '#dd955a',
  'status-prioritized': '#c366d1',
  'status-active': '#5b8ad7',
  'status-delayed': '#9374dc',
  'status-paused': '#a29e96',
  ...FONTS,
};

/** The tokens as custom properties: by what the system prefers, unless the user has chosen. */
export function themeCss(): string {
  return [
    `:root { color-scheme: light; ${propertiesOf(LIGHT)} }`,
    `@media (prefers-color-scheme: dark) { :root:not([data-theme='light']) { color-scheme: dark; ${propertiesOf(DARK)} } }`,
    `:root[data-theme='dark'] { color-scheme: dark; ${propertiesOf(DARK)} }`,
    '',
  ].join('\n');
}

function propertiesOf(tokens: Tokens): string {
  return TOKEN_NAMES.map((name) => `--${name}: ${tokens[name]};`).join(' ');
}
