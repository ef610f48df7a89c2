// Opens a report from the disk in Chromium without a network, and prints what it shows and asks for, as JSON:
//
//   node web/test/open_report.mjs FILE
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
try {
  const context = await browser.newContext({ offline: true });
  const page = await context.newPage();
  const asked = [];
  const errors = [];
  page.setDefaultTimeout(240_000);
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => errors.push(error.message));
  const url = pathToFileURL(resolve(process.argv[2])).href;
  await page.goto(url);
  await page.locator("main h1").first().waitFor();
  const title = await page.locator("main h1").first().textContent();
  const pages = {};
  for (const link of await page.locator("nav.rail li a").all()) {
    await link.click();
    await page.locator('nav.rail a[aria-current="page"]').waitFor();
    pages[await page.locator("main h1").first().textContent()] = await page.locator("main").innerText();
  }
  console.log(JSON.stringify({ title, pages, errors, asked: asked.filter((one) => one !== url) }));
} finally {
  await browser.close();
}
