import { expect, test } from 'vitest';
import { NoDeviceError } from '../../../src/errors.ts';
import { type BrowserSearch, type FoundBrowser, findBrowser } from '../../../tools/browser.ts';

const shipped: FoundBrowser = { path: '/cache/chromium', origin: 'package', env: {}, shell: true };
const machine = (given: Partial<BrowserSearch> & { files?: readonly string[] }): BrowserSearch => ({
  platform: 'linux',
  env: {},
  exists: (path) => (given.files ?? []).includes(path),
  chrome: () => undefined,
  shipped: async () => shipped,
  ...given,
});
const pathOf = async (given: Parameters<typeof machine>[0]) => (await findBrowser(machine(given))).path;

test('the variable comes first, then Chrome, then Chromium, then the package', async () => {
  const env = { COMPRESSA_BROWSER: '/my/browser', PATH: '/a:/b' };
  const files = ['/my/browser', '/b/chromium', '/b/google-chrome'];
  const chrome = () => '/opt/google/chrome/chrome';
  expect(await pathOf({ env, files, chrome })).toBe('/my/browser');
  expect(await pathOf({ env: { PATH: env.PATH }, files, chrome })).toBe('/opt/google/chrome/chrome');
  expect(await pathOf({ env: { PATH: env.PATH }, files })).toBe('/b/google-chrome');
  expect(await pathOf({ env: { PATH: env.PATH }, files: ['/b/chromium'] })).toBe('/b/chromium');
  expect(await pathOf({ env: { PATH: env.PATH } })).toBe('/cache/chromium');
});

test('the places of macOS and Windows', async () => {
  const mac = '/Users/someone/Applications/Chromium.app/Contents/MacOS/Chromium';
  expect(await pathOf({ platform: 'darwin', env: { HOME: '/Users/someone' }, files: [mac] })).toBe(mac);
  const windows = 'C:\\Users\\someone\\Chromium\\Application\\chrome.exe';
  const env = { LOCALAPPDATA: 'C:\\Users\\someone' };
  expect(await pathOf({ platform: 'win32', env, files: [windows] })).toBe(windows);
});

test('a variable that names nothing, and no browser at all, are errors that say what to do', async () => {
  const wrong = findBrowser(machine({ env: { COMPRESSA_BROWSER: '/none' } }));
  await expect(wrong).rejects.toThrow(new NoDeviceError('COMPRESSA_BROWSER names /none, which does not exist.'));
  const none = findBrowser(
    machine({ shipped: () => Promise.reject(new NoDeviceError('It is not for this machine.')) }),
  );
  await expect(none).rejects.toThrow(NoDeviceError);
  await expect(none).rejects.toThrow(/not for this machine.*Install a browser, or set COMPRESSA_BROWSER/);
});
