/** How a process hears that it shall stop, and that it shall do so at once. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { stopSignal } from '../src/stop-signal.ts';
import { eventually } from './support/eventually.ts';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** Of the test runner, and of other files in this process; they would hear these signals, too. */
const others = new Map<NodeJS.Signals, NodeJS.SignalsListener[]>();

beforeEach(() => {
  for (const signal of SIGNALS) {
    others.set(signal, process.listeners(signal));
    process.removeAllListeners(signal);
  }
});

afterEach(() => {
  for (const [signal, listeners] of others) {
    process.removeAllListeners(signal);
    for (const listener of listeners) process.on(signal, listener);
  }
  vi.restoreAllMocks();
});

function watched(): { stopped: Promise<NodeJS.Signals>; exit: ReturnType<typeof vi.spyOn> } {
  const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as never);
  return { stopped: stopSignal(), exit };
}

const send = (...signals: NodeJS.Signals[]): void => signals.forEach((signal) => void process.emit(signal, signal));

test('one Ctrl-C that comes twice, from the terminal and from npm, is one', async () => {
  const { stopped, exit } = watched();
  send('SIGINT', 'SIGINT');
  expect(await stopped).toBe('SIGINT');
  expect(exit).not.toHaveBeenCalled();
});

test.each([
  ['another kind', ['SIGINT', 'SIGTERM']],
  ['more than one Ctrl-C gives', ['SIGINT', 'SIGINT', 'SIGINT']],
] as const)('signals of %s that met a blocked event loop end the process at once', async (_what, signals) => {
  const { stopped, exit } = watched();
  send(...signals);
  expect(await stopped).toBe('SIGINT');
  expect(exit).toHaveBeenCalledExactlyOnceWith(1);
});

test('a second signal a while later ends the process at once', async () => {
  const { stopped, exit } = watched();
  send('SIGTERM');
  expect(await stopped).toBe('SIGTERM');
  await eventually(() => {
    send('SIGTERM');
    expect(exit).toHaveBeenCalledWith(1);
  });
});
