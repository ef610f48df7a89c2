// The report in a real browser: one file, opened from the disk, without any network.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { chromium, type Browser, type Page } from "playwright-core";
import { BUSY, Cluster, FAILED, type Scene } from "./cluster";

const assets = process.env.CASK_PAGES as string;
const axe = readFileSync(createRequire(join(assets, "x.js")).resolve("axe-core/axe.min.js"), "utf8");
const PATIENCE_MS = 300_000;
const LISTS = ["summary", "workers?gone=1&limit=1000", "groups?limit=1000", "failures?limit=1000", "findings", "logs?limit=1000", "events?limit=100", "graphs?limit=100", "transfers", "activities", "statuses?limit=1000"];

let browser: Browser;
let folder: string;
before(async () => {
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  folder = mkdtempSync(join(tmpdir(), "cask-report-"));
});
after(async () => {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
});

// As src/observer/report.c makes it.
function reportOf(scene: Scene, code: string | null = null): string {
  const cluster = new Cluster(scene);
  const paths = [...LISTS, `series?since=${scene.began}&step=1`, ...cluster.failures().map((one) => `failure?id=${one.id as number}`)];
  const answers = Object.fromEntries(paths.map((path) => {
    const url = new URL(path, "http://localhost/");
    return [path, cluster.answer(url.pathname.slice(1), url.searchParams).body];
  }));
  const groups = cluster.groups();
  const prefixes = groups.map((group) => group.prefix as string);
  answers.prefixes = { prefixes: prefixes.map((name, index) => ({ id: index + 1, name })) };
  const micro = (seconds: number) => Math.round(seconds * 1e6);
  const { runs } = cluster;
  const column = (of: (run: (typeof runs)[number]) => number) => runs.map(of);
  const data = {
    format: 1, made: cluster.end, since: scene.began, until: cluster.end, answers,
    runs: {
      total: runs.length, since: micro(runs[0].start), start: runs.map((run, index) => micro(run.start) - micro(runs[Math.max(index - 1, 0)].start)),
      duration: column((run) => micro(run.duration)), transfer: column((run) => micro(run.transfer)), deserialize: column(() => 0), disk: column(() => 0),
      worker: column((run) => run.worker), lane: column((run) => run.lane), group: column((run) => run.group), prefix: column((run) => prefixes.indexOf(run.prefix) + 1),
      erred: column((run) => (run.status === "ok" ? 0 : 1)), key: runs.map((run) => run.key),
    },
  };
  const shell = readFileSync(join(assets, "report-shell.html"), "utf8");
  return shell.replace("<!--DATA-->", () => gzipSync(JSON.stringify(data)).toString("base64")).replace('id="code">null<', () => `id="code">${JSON.stringify(code).replace(/</g, "\\u003c")}<`);
}

async function opened(html: string, visit: (page: Page) => Promise<void>): Promise<void> {
  const path = join(folder, "report.html");
  const asked: string[] = [];
  writeFileSync(path, html);
  const context = await browser.newContext({ offline: true, viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => asked.push(`error: ${error.message}`));
  page.on("console", (message) => message.type() === "error" && asked.push(`console: ${message.text()}`));
  try {
    const url = pathToFileURL(path).href;
    await page.goto(url);
    await visit(page);
    assert.deepEqual(asked, [url], "nothing is asked of anybody");
  } finally {
    await context.close();
  }
}

test("a report begins with what went wrong, and every page of it works", async () => {
  await opened(reportOf(FAILED), async (page) => {
    await page.locator(".pill", { hasText: "report of" }).waitFor();
    await page.locator("h1", { hasText: "What went wrong" }).waitFor();
    await page.locator(".finding").first().waitFor();
    await page.locator(".failure", { hasText: "10,000" }).click();
    await page.getByText("return 1 / (x - x)").waitFor();
    for (const text of await page.locator("nav.rail li a").allTextContents()) {
      const name = text.replace(/\d[\d.,]*[kM]?$/, ""); // behind it may be how many there are
      await page.locator("nav.rail li a", { hasText: name }).first().click();
      await page.locator("main h1", { hasText: name }).waitFor();
      await page.evaluate(axe);
      const found = await page.evaluate(async () => {
        // eslint-disable-next-line @typescript-eslint/no-explicit-any
        const { violations } = await (window as any).axe.run();
        return violations.filter((one: { impact: string }) => one.impact === "serious" || one.impact === "critical").map((one: { id: string }) => one.id);
      });
      assert.deepEqual(found, [], name);
      assert.equal(await page.locator(".problem").count(), 0, name);
    }
    assert.equal(await page.locator("nav.rail", { hasText: "Call stacks" }).count(), 0);
    await page.goBack();
    assert.equal(await page.evaluate("window.hacked"), undefined);
  });
});

test("a report of good work begins with the overview and the code; its task stream zooms", async () => {
  await opened(reportOf(BUSY, "x = '</script>'\nx.sum().compute()"), async (page) => {
    await page.locator("h1", { hasText: "Overview" }).waitFor();
    await page.locator("pre", { hasText: "x.sum().compute()" }).waitFor();
    await page.keyboard.press("g");
    await page.keyboard.press("t");
    await page.waitForFunction(() => document.querySelector(".stream canvas")?.getAttribute("aria-label")?.includes("3,000 runs"));
    await page.keyboard.press("w");
    await page.waitForFunction(() => /since=.*until=/.test(location.hash));
    await page.getByRole("button", { name: "as a table" }).click();
    await page.getByRole("region", { name: "Runs" }).locator("tbody a").first().click();
    await page.locator("main dl.stats").waitFor();
    await page.goBack();
    await page.locator("h1", { hasText: "Task stream" }).waitFor();
  });
});

test("a file that was cut off says so", async () => {
  const html = reportOf(BUSY);
  const at = html.indexOf('id="data">') + 10;
  await opened(html.slice(0, at + 200) + html.slice(html.indexOf("</script>", at)), async (page) => {
    await page.getByText("This report cannot be read").waitFor();
  });
});

test("the shell of a report is small and names nobody", () => {
  const shell = readFileSync(join(assets, "report-shell.html"), "utf8");
  assert.ok(shell.length <= 135_000, `${shell.length} bytes`);
  const [, program] = shell.match(/id="program">([^<]*)</)!;
  const whole = shell + gunzipSync(Buffer.from(program, "base64")).toString();
  const names = [...whole.matchAll(/https?:\/\/[^"'`\s)]+/g)].map(([name]) => name).filter((name) => !/^http:\/\/www\.w3\.org\/|^https:\/\/www\.speedscope\.app\/file-format-schema\.json$/.test(name)); // names of formats, which nobody asks for
  assert.deepEqual(names, []);
  assert.equal(/\bimport\(|<link\b|<img\b|@import/.test(whole), false);
});
