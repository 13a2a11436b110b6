/** What is looked for on pages: faults that axe-core finds, what stands out to the side of a phone, where the focus is. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';
import { expect } from 'vitest';
import { eventually } from '../support/eventually.ts';

/** The text itself, evaluated by the debugger: the page's own policy lets nobody add scripts. */
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface Finding {
  id: string;
  impact: string;
  nodes: Array<{ target: string[]; html: string; summary: string }>;
}

/** Colours that change slowly are looked at when they have changed. */
const SETTLED = `new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
  .then(() => Promise.all(document.getAnimations().map(({ finished }) => finished.catch(() => undefined))))`;

/** The serious and critical findings of axe-core, in words. `rules`: these alone. */
export async function findingsOf(page: Page, { rules }: { rules?: readonly string[] } = {}): Promise<string[]> {
  await page.evaluate(`if (!window.axe) { ${AXE} }`);
  await page.evaluate(SETTLED);
  const options = {
    resultTypes: ['violations'],
    preload: false,
    ...(rules && { runOnly: { type: 'rule', values: rules } }),
  };
  const found = await page.evaluate<Finding[]>(`axe.run(document, ${JSON.stringify(options)}).then(({ violations }) =>
    violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(({ target, html, failureSummary }) =>
      ({ target: target.map(String), html, summary: failureSummary })) })))`);
  return found
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) =>
      nodes.map(({ target, html, summary }) => {
        const [, why = ''] = /^ +(.*)$/m.exec(summary) ?? [];
        return `${id} at ${target.join(' ')}: ${why} ${html.slice(0, 100)}`;
      }),
    );
}

/** How far the page can be scrolled to the side, once what is drawn has followed a new size. */
export async function overhang(page: Page): Promise<number> {
  let widerBy = 0;
  const look = async (): Promise<void> => {
    widerBy = await page.evaluate<number>(`(() => {
      const scrolled = [document.scrollingElement, document.querySelector('#root')].filter(Boolean);
      return Math.max(...scrolled.map((one) => one.scrollWidth - one.clientWidth));
    })()`);
    expect(widerBy).toBe(0);
  };
  await eventually(look, 3_000).catch(() => undefined); // The caller tells of it.
  return widerBy;
}

/** How bright the page's ground is, from 0 to 255. */
export async function brightness(page: Page): Promise<number> {
  const color = await page.evaluate<string>('getComputedStyle(document.body).backgroundColor');
  const parts = [...color.matchAll(/[\d.]+/g)].slice(0, 3).map(Number);
  return parts.reduce((sum, part) => sum + part, 0) / 3;
}

/** What has the focus, and whether one sees that it has. */
export function focused(page: Page): Promise<{ text: string; isSeen: boolean }> {
  return page.evaluate<{ text: string; isSeen: boolean }>(`(() => {
    const element = document.activeElement;
    const { top, bottom, width } = element.getBoundingClientRect();
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    const isInView = width > 0 && bottom > 0 && top < innerHeight;
    const text = element.textContent.trim() || element.outerHTML;
    return { text, isSeen: isInView && outlineStyle !== 'none' && outlineWidth !== '0px' };
  })()`);
}

/** Presses Tab until it is reached; all on the way must be seen to have the focus. */
export async function tabTo(page: Page, wanted: string | RegExp): Promise<void> {
  for (let presses = 0; presses < 80; presses++) {
    await page.keyboard.press('Tab');
    const { text, isSeen } = await focused(page);
    expect(isSeen, text.slice(0, 160)).toBe(true);
    if (typeof wanted === 'string' ? text === wanted : wanted.test(text)) return;
  }
  throw new Error(`${String(wanted)} is not reached by 80 tabs`);
}
