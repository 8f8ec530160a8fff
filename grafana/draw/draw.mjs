// Builds the page once, serves it with the dashboards and a way to Prometheus, and takes pictures of it:
//   node draw.mjs PROMETHEUS_URL END_SECONDS BOARDS_FOLDER PICTURES_FOLDER [BOARD...]
import { createServer, request } from 'node:http';
import { readFile, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'vite';
import upngModule from '@pdf-lib/upng';
import { chromium } from 'playwright-core';

// A CommonJS module: what it exports stands behind one or two defaults.
const upng = upngModule.default ?? upngModule;
const [prometheus, end, boards, pictures, ...only] = process.argv.slice(2);
const here = import.meta.dirname;
const names = only.length ? only : ['overview', 'cluster', 'node', 'jobs', 'gpu', 'grid', 'health'];

if (!existsSync(join(here, 'dist/index.html')) || process.env.REBUILD) {
  await build({
    root: here,
    logLevel: 'error',
    define: { 'process.env.NODE_ENV': '"production"' },
    esbuild: { jsx: 'automatic' },
    build: { outDir: 'dist', emptyOutDir: true, minify: false, chunkSizeWarningLimit: 20000 },
  });
}

const kinds = { html: 'text/html', js: 'text/javascript', css: 'text/css', json: 'application/json' };
const server = createServer(async (asked, answer) => {
  const path = new URL(asked.url, 'http://localhost').pathname;
  if (path.startsWith('/prom/')) {
    request(prometheus + asked.url.slice(5), (from) => {
      answer.writeHead(from.statusCode);
      from.pipe(answer);
    }).end();
    return;
  }
  try {
    const file = path.startsWith('/boards/') ? join(boards, path.slice(8)) : join(here, 'dist', path);
    const body = await readFile(file);
    answer.writeHead(200, { 'content-type': kinds[file.split('.').pop()] ?? 'text/plain' }).end(body);
  } catch {
    answer.writeHead(404).end();
  }
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
let faults = 0;
for (const theme of ['dark', 'light']) {
  for (const name of names) {
    const page = await browser.newPage({ viewport: { width: 1400, height: 900 }, timezoneId: 'UTC' });
    page.on('pageerror', (error) => {
      console.error(`${name}: ${error.message}`);
    });
    await page.goto(
      `http://127.0.0.1:${server.address().port}/index.html?board=${name}&theme=${theme}&to=${end}`,
    );
    await page.waitForFunction(() => window.isDrawn, null, { timeout: 120000 });
    for (const fault of await page.evaluate(() => window.faults)) {
      faults += 1;
      console.error(`${name} ${theme}: ${fault}`);
    }
    // Few colours: pictures are kept in the repository.
    const full = upng.decode(await page.screenshot({ fullPage: true }));
    const small = upng.encode(upng.toRGBA8(full), full.width, full.height, 64);
    await writeFile(join(pictures, `${name}-${theme}.png`), Buffer.from(small));
    await page.close();
  }
}
await browser.close();
server.close();
process.exit(faults ? 1 : 0);
