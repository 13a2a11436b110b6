// Bull Board keeps its own settings in the browser. The choice of colours goes from our pages to it when it is opened, and back when it is changed
// there.
const KEY = 'board-settings';
const THEMES = { auto: 'system', light: 'light', dark: 'dark' };
const own = document.currentScript;

/** @returns {{ state: Record<string, unknown>, version?: number }} */
function readSettings() {
  try {
    const settings = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    return { ...settings, state: settings.state ?? {} };
  } catch {
    return { state: {} };
  }
}

if (own instanceof HTMLScriptElement) {
  const { theme = 'auto', choose = '', csrf = '' } = own.dataset;
  let chosen = THEMES[/** @type {keyof typeof THEMES} */ (theme)];
  const settings = readSettings();
  settings.state['theme'] = chosen;
  localStorage.setItem(KEY, JSON.stringify(settings));

  const pass = () => {
    const { theme: now } = readSettings().state;
    if (typeof now !== 'string' || now === chosen) return;
    chosen = now;
    const body = new URLSearchParams({ theme: now === 'system' ? 'auto' : now, _csrf: csrf });
    void fetch(choose, { method: 'POST', body, redirect: 'manual' });
  };
  // Bull Board marks the body when its colours change; that it does so by itself, as the system goes, changes no choice.
  document.addEventListener('DOMContentLoaded', () => {
    new MutationObserver(pass).observe(document.body, { attributeFilter: ['class'] });
    window.addEventListener('pagehide', pass);
  });
}
