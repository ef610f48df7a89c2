// The pages in a real browser, against a cluster that never was: what they show, what keys do, what goes over the
// network. Nothing here waits for a time to pass, only for what must come.
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium, type Browser, type Page } from "playwright-core";
import { BUSY, Cluster, EMPTY, FAILED, LARGE, type Scene } from "./cluster";
import { PageServer, type Options } from "./server";

const assets = process.env.CASK_PAGES as string;
const axe = readFileSync(createRequire(join(assets, "x.js")).resolve("axe-core/axe.min.js"), "utf8");
const ours = ["problems", "status", "tasks", "groups", "memory", "workers", "profile", "transfers", "scheduler", "logs", "stacks", "why", "history", "activities"];
const about = ["failure/1", "info/task/inc-1.html", "info/task/after.html", "info/worker/tcp%3A%2F%2F10.0.0.2%3A40001.html", "why/inc-1", "groups?group=3", "history?earlier=yesterday", "profile?worker=1&than=workers", "profile?function=%2Fhome%2Fada%2Fanalysis%2Fclean.py%0Aclean", "info/call-stacks/tcp%3A%2F%2F10.0.0.2%3A40001.html"];
const stock = [
  "", "status", "workers", "tasks", "system", "profile", "profile-server", "graph", "groups", "gpu", "hardware", "shuffle", "stealing", "events", "counters",
  "exceptions", "info/main/workers.html", "info/main/exceptions.html", "info/main/logs.html",
];
const panels = [
  "task-stream", "progress", "graph", "groups", "group-progress", "workers-memory", "cluster-memory", "workers-transfer-bytes", "cpu", "nprocessing", "occupancy",
  "workers", "exceptions", "bandwidth-types", "bandwidth-workers", "workers-network", "workers-disk", "workers-network-timeseries", "workers-cpu-timeseries",
  "workers-memory-timeseries", "workers-disk-timeseries", "memory-by-key", "compute-time-per-key", "aggregate-time-per-action", "scheduler-system", "contention",
  "fine-performance-metrics", "profile", "profile-server", "gpu-memory", "gpu-utilization", "rmm-memory",
];

let browser: Browser;
before(async () => {
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
});
after(() => browser.close());

// However loaded the machine is; only what never comes fails.
const PATIENCE_MS = 300_000;

// Frame after frame of the page's, until it is so.
async function until(page: Page, what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const given = Date.now() + PATIENCE_MS;
  while (!(await check())) {
    assert.ok(Date.now() < given, `never: ${what}`);
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
}

interface Visit {
  page: Page;
  server: PageServer;
  base: string;
  wrong: string[]; // errors, refusals, requests to elsewhere
}

async function visiting(scene: Scene, options: Options & { scheme?: "light" | "dark"; width?: number }, visit: (at: Visit) => Promise<void>): Promise<void> {
  const server = new PageServer(assets, new Cluster(scene), options);
  const base = await server.listen();
  const page = await browser.newPage({ viewport: { width: options.width ?? 1440, height: 900 }, colorScheme: options.scheme ?? "light" });
  page.setDefaultTimeout(PATIENCE_MS);
  const wrong: string[] = [];
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("console", (message) => message.type() === "error" && wrong.push(`console: ${message.text()}`));
  page.on("request", (request) => request.url().startsWith(base) || wrong.push(`asked ${request.url()}`));
  try {
    await visit({ page, server, base, wrong });
  } finally {
    await page.close();
    await server.close();
  }
}

const live = (page: Page) => page.locator(".pill.good").waitFor();

for (const scheme of ["light", "dark"] as const) {
  test(`all pages work and are accessible, ${scheme}`, async () => {
    await visiting(FAILED, { scheme }, async ({ page, base, wrong }) => {
      for (const path of [...ours, ...about]) {
        await page.goto(base + path);
        await live(page);
        await page.locator("main h1").first().waitFor();
        // Outside of the page's policy, as a person's own tools are.
        await page.evaluate(axe);
        const found = await page.evaluate(async () => {
          // eslint-disable-next-line @typescript-eslint/no-explicit-any
          const { violations } = await (window as any).axe.run();
          return violations.filter((one: { impact: string }) => one.impact === "serious" || one.impact === "critical")
            .map((one: { id: string; nodes: { html: string }[] }) => `${one.id}: ${one.nodes[0].html}`);
        });
        assert.deepEqual(found, [], path);
      }
      assert.deepEqual(wrong, []);
    });
  });
}

test("pages without any work say what to do", async () => {
  await visiting(EMPTY, {}, async ({ page, base, wrong }) => {
    await page.goto(`${base}problems`);
    await page.getByText("⚠ no workers").waitFor();
    await page.getByText("Nothing has gone wrong.").waitFor();
    for (const path of ours) {
      await page.goto(base + path);
      await page.locator("main h1").first().waitFor();
    }
    await page.goto(`${base}workers`);
    await page.getByText("No workers. Start some").waitFor();
    assert.deepEqual(wrong, []);
  });
});

test("every address of stock's shows the page that answers it", async () => {
  await visiting(BUSY, { prefix: "/user/ada/proxy/8787" }, async ({ page, base, wrong }) => {
    for (const path of stock) {
      await page.goto(base + path);
      await live(page);
      assert.notEqual(await page.locator("main h1").first().textContent(), "", path);
      assert.equal(await page.getByText("There is no page").count(), 0, path);
    }
    await page.goto(`${base}nowhere`);
    await page.getByText("There is no page").waitFor();
    assert.deepEqual(wrong, []);
  });
});

test("panels to embed fill their frame and have no navigation", async () => {
  await visiting(BUSY, {}, async ({ page, base, wrong }) => {
    for (const panel of panels) {
      await page.goto(`${base}individual-${panel}?token=x`);
      await page.locator("main.bare > *").first().waitFor();
      const box = await page.locator("main").boundingBox();
      assert.deepEqual([box?.width, box?.height], [1440, 900], panel);
      assert.equal(await page.locator("nav").count(), 0, panel);
    }
    assert.deepEqual(wrong, []);
  });
});

test("ten thousand equal failures are one line, a click away from their traceback", async () => {
  await visiting(FAILED, {}, async ({ page, base, wrong }) => {
    await page.goto(`${base}problems`);
    await page.locator(".failure").first().waitFor();
    assert.equal(await page.locator(".failure").count(), 4);
    await page.locator(".failure", { hasText: "10,000" }).click();
    await page.getByText("return 1 / (x - x)").waitFor();
    assert.equal(await page.getByText("return self._partial").isVisible(), false);
    await page.getByText("2 frames of dask, toolz").click();
    assert.equal(await page.getByText("return self._partial").isVisible(), true);
    await page.getByText('client.recreate_task_locally("inc-1")').waitFor();
    assert.ok(page.url().endsWith("/failure/1"));
    assert.deepEqual(wrong, []);
  });
});

test("a failure says what the task was given, and how to run it again", async () => {
  await visiting(FAILED, {}, async ({ page, base, wrong }) => {
    for (const path of ["failure/1", "info/task/inc-1.html"]) {
      await page.goto(base + path);
      await page.getByText("inc(<input x>, '</pre><script>window.hacked=1</script>', by=<img src=x onerror=window.hacked=1>)").waitFor();
      const rows = page.locator("table.inputs tbody tr");
      const cells = await rows.nth(0).locator("td").allTextContents();
      assert.deepEqual(cells.map((text) => text.replace(/\s/g, " ")), ["x", "int", "28 B", "–", "–", "0", "● kept"]);
      assert.match((await rows.nth(1).textContent()) ?? "", /pandas\.DataFrame.*3.*MiB.*\(1000, 3\).*larger than 1 MiB/);
      await page.getByText("and 128 more.").waitFor();
      await page.getByText("of that worker's log").click();
      assert.equal(await page.getByText("Compute Failed <script>").isVisible(), true);
      assert.equal(await page.getByText("cask replay 'inc-1'").isVisible(), true);
    }
    assert.equal(await page.evaluate("window.hacked"), undefined);
    assert.equal(await page.locator("main script, main img").count(), 0);
    assert.deepEqual(wrong, []);
  });
});

test("from a spoiled task to the one that failed, its odd input, its attempts, and who is around", async () => {
  await visiting(FAILED, {}, async ({ page, base, wrong }) => {
    await page.goto(`${base}info/task/after.html`);
    const chain = page.locator("ol.chain li");
    await chain.nth(1).waitFor();
    assert.match((await chain.nth(0).textContent()) ?? "", /after failed because its input failed/);
    assert.match((await chain.nth(1).textContent()) ?? "", /inc-1 failed by itself/);
    await page.getByText("its input x is zero").waitFor();
    await chain.nth(1).getByRole("link", { name: "inc-1", exact: true }).click();
    const cells = page.locator("table.attempts tbody tr");
    await cells.last().getByText("attempt 2").waitFor();
    assert.match((await cells.nth(5).textContent()) ?? "", /peak memory500.MiB.*900.MiB/);
    assert.match((await cells.nth(1).textContent()) ?? "", /w0w1/);
    const around = page.getByRole("region", { name: "Neighbourhood" });
    await around.getByRole("link", { name: /^x: in memory on w0, 28.B; 41 more neighbours not shown/ }).waitFor();
    assert.equal(await around.locator("path.failed").count(), 1);
    await page.getByLabel("steps").selectOption("3");
    await around.getByRole("link", { name: /^after: erred/ }).click();
    await page.locator("h1", { hasText: "after" }).waitFor();
    assert.equal(await page.evaluate("window.hacked"), undefined);
    assert.deepEqual(wrong, []);
  });
});

test("findings stand above failures, the worst first, with what to do", async () => {
  await visiting(FAILED, {}, async ({ page, base, wrong }) => {
    await page.goto(`${base}problems`);
    await page.locator(".finding").first().waitFor();
    const signs = await page.locator(".finding .sign").allTextContents();
    assert.deepEqual(signs, ["✕ error", "⚠ warning", "⚠ warning"]);
    const second = page.locator(".finding").nth(1);
    assert.match((await second.textContent()) ?? "", /41 % of the last minute's work.*Larger workers\..*since/s);
    assert.equal(await page.locator(".finding figure svg path").count(), 1);
    await page.locator(".finding", { hasText: "(OOM)" }).locator("a", { hasText: "sum-9c5f" }).last().click();
    await page.locator("h1", { hasText: "('sum-9c5f', 3)" }).waitFor();
    assert.deepEqual(wrong, []);
  });
});

test("what tasks send is text, never HTML", async () => {
  await visiting(FAILED, {}, async ({ page, base, wrong }) => {
    for (const path of ["problems", "failure/4", "logs", "tasks", "status", `info/task/${encodeURIComponent("<img src=x onerror=window.hacked=1>")}.html`]) {
      await page.goto(base + path);
      await live(page);
      await page.locator("main h1").first().waitFor();
      assert.equal(await page.evaluate("window.hacked"), undefined, path);
    }
    await page.goto(`${base}failure/4`);
    await page.locator("h1", { hasText: "<script>window.hacked=1</script>" }).waitFor();
    assert.equal(await page.locator("main script, main img").count(), 0);
    assert.deepEqual(wrong, []);
  });
});

test("keys go everywhere the mouse goes", async () => {
  await visiting(FAILED, {}, async ({ page, base, wrong }) => {
    await page.goto(`${base}status`);
    await live(page);
    for (const [key, title] of [["w", "Workers"], ["p", "What went wrong"], ["t", "Task stream"], ["g", "Groups and graph"], ["m", "Memory"], ["l", "Logs and events"]]) {
      await page.keyboard.press("g");
      await page.keyboard.press(key);
      await page.locator("main h1", { hasText: title }).waitFor();
    }
    await page.keyboard.press("g");
    await page.locator(".begun", { hasText: "Memory" }).waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".begun").waitFor({ state: "detached" });
    await page.keyboard.press("?");
    await page.locator("dialog").getByText("Task stream").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("dialog").waitFor({ state: "detached" });
    await page.keyboard.press("g");
    await page.keyboard.press("w");
    await page.locator(".grid tbody tr").first().waitFor();
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    await page.keyboard.press("Enter");
    await page.locator("h1", { hasText: "tcp://10.0.0.2:40001" }).waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("inc-1");
    await page.keyboard.press("Enter");
    await page.locator("h1", { hasText: "inc-1" }).waitFor();
    await page.goBack();
    await page.locator("h1", { hasText: "tcp://10.0.0.2:40001" }).waitFor();
    assert.deepEqual(wrong, []);
  });
});

test("keys that come faster than the page is drawn do the same", async () => {
  await visiting(BUSY, {}, async ({ page, base, wrong }) => {
    await page.goto(`${base}workers`);
    await page.locator(".grid tbody tr").first().waitFor();
    // All of them before the page has a chance to draw.
    await page.evaluate(() => ["j", "j", "j", "k", "Enter"].forEach((key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }))));
    await page.locator("h1", { hasText: "tcp://10.0.0.3:40001" }).waitFor();
    assert.deepEqual(wrong, []);
  });
});

const inked = (page: Page) => page.locator(".stream canvas").evaluate((canvas: HTMLCanvasElement) => {
  const { data } = canvas.getContext("2d")!.getImageData(200, 30, canvas.width - 200, canvas.height - 40);
  const colors = new Map<number, number>();
  for (let at = 0; at < data.length; at += 4) {
    const color = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2];
    colors.set(color, (colors.get(color) ?? 0) + 1);
  }
  return [...colors].filter(([color, count]) => count > 50 && Math.max(color >> 16, (color >> 8) & 255, color & 255) - Math.min(color >> 16, (color >> 8) & 255, color & 255) > 60).length;
});

test("the task stream draws, zooms, holds, and says which run is below the pointer", async () => {
  await visiting(BUSY, {}, async ({ page, server, base, wrong }) => {
    await page.goto(`${base}tasks`);
    await live(page);
    await page.waitForFunction(() => document.querySelector(".stream canvas")?.getAttribute("aria-label")?.includes("runs"));
    await page.getByRole("button", { name: "all of it" }).click();
    await page.getByText("‖ held").waitFor();
    await page.waitForFunction(() => /since=.*until=/.test(location.search));
    await page.waitForFunction(() => document.querySelector(".stream canvas")?.getAttribute("aria-label")?.includes("3,000 runs"));
    await until(page, "colours of several prefixes", async () => (await inked(page)) >= 4);
    const wide = new URL(page.url()).searchParams;
    await page.keyboard.press("w");
    await page.waitForFunction((since) => new URLSearchParams(location.search).get("since") !== since, wide.get("since"));
    const narrow = new URL(page.url()).searchParams;
    const width = (query: URLSearchParams) => Number(query.get("until")) - Number(query.get("since"));
    assert.ok(Math.abs(width(narrow) / width(wide) - 0.6) < 0.01);
    // A run in the middle of its lane, where the window says it is.
    const run = server.cluster.runs.find((one) => one.worker === 1 && one.lane === 0 && one.start > Number(narrow.get("since")) + 3 && one.duration > 0.1)!;
    await page.waitForFunction(() => /[1-9][\d,]* runs/.test(document.querySelector(".stream canvas")?.getAttribute("aria-label") ?? ""));
    const box = (await page.locator(".stream canvas").boundingBox())!;
    const x = 118 + ((run.start + run.duration / 2 - Number(narrow.get("since"))) / width(narrow)) * (box.width - 118);
    await page.mouse.click(box.x + x, box.y + 33);
    await page.locator(".selected-run code", { hasText: run.key }).waitFor();
    await page.getByRole("button", { name: "as a table" }).click();
    await page.getByRole("region", { name: "Runs" }).waitFor();
    await page.keyboard.press(" ");
    assert.deepEqual(wrong, []);
  });
});

test("a range that is dragged over in the task stream goes along to other pages", async () => {
  await visiting(FAILED, {}, async ({ page, server, base, wrong }) => {
    const { began } = server.cluster.scene;
    await page.goto(`${base}tasks?since=${began}&until=${began + 4}`);
    await page.waitForFunction(() => /[1-9][\d,]* runs/.test(document.querySelector(".stream canvas")?.getAttribute("aria-label") ?? ""));
    await page.getByRole("button", { name: "choose a range" }).click();
    const box = (await page.locator(".stream canvas").boundingBox())!;
    const at = (time: number) => box.x + 118 + (time / 4) * (box.width - 118);
    await page.mouse.move(at(1), box.y + 100);
    await page.mouse.down();
    await page.mouse.move(at(2), box.y + 120);
    await page.mouse.move(at(2.5), box.y + 120);
    await page.mouse.up();
    const chosen = () => ["from", "to"].map((name) => Number(new URL(page.url()).searchParams.get(name)) - began);
    await page.waitForFunction(() => /from=.*to=/.test(location.search));
    assert.ok(Math.abs(chosen()[0] - 1) < 0.02 && Math.abs(chosen()[1] - 2.5) < 0.02, chosen().join());
    assert.equal(Number(new URL(page.url()).searchParams.get("since")), began, "the window stays");
    await page.getByRole("link", { name: "What went wrong" }).click();
    await page.locator("button.range", { hasText: "only" }).waitFor();
    assert.equal(await page.locator(".failure").count(), 0, "all of them were later");
    await page.locator("button.range").click();
    await page.locator(".failure").first().waitFor();
    assert.ok(!page.url().includes("from="));
    await page.keyboard.press("g");
    await page.keyboard.press("w");
    await page.locator("main h1", { hasText: "Workers" }).waitFor();
    assert.equal(await page.locator("button.range").count(), 0);
    assert.deepEqual(wrong, []);
  });
});

test("in the task stream a key is found, its neighbours are a key away, idle times say why, colours change", async () => {
  await visiting(BUSY, {}, async ({ page, server, base, wrong }) => {
    const lane = server.cluster.runs.filter((run) => run.worker === 3 && run.lane === 1).sort((one, other) => one.start - other.start);
    const pause = (index: number) => lane[index + 1].start - lane[index + 1].transfer - lane[index].start - lane[index].duration;
    const places = lane.map((_, index) => index).slice(3, -3);
    const close = places.find((index) => pause(index) < 0.01)!;
    const run = lane[close];
    const before = lane[places.find((index) => pause(index) > 0.2)!];
    await page.goto(`${base}tasks`);
    await live(page);
    await page.getByLabel("find key").fill(run.key);
    await page.keyboard.press("Enter");
    await page.locator(".selected-run code", { hasText: run.key }).waitFor();
    await page.locator(".selected-run .keys-of", { hasText: "inc-1" }).waitFor();
    const input = server.cluster.runs[0].key;
    await until(page, "where an input ran is asked for its arrow", () => server.queries.includes(`?${new URLSearchParams({ key: input })}`));
    await page.locator(".stream canvas").focus();
    await page.keyboard.press("]");
    await page.locator(".selected-run code", { hasText: lane[close + 1].key }).waitFor();
    await page.keyboard.press("[");
    await page.locator(".selected-run code", { hasText: run.key }).waitFor();
    const since = before.start + before.duration - 1;
    await page.goto(`${base}tasks?since=${since}&until=${since + 2}&worker=3`);
    await page.waitForFunction(() => /[1-9][\d,]* runs/.test(document.querySelector(".stream canvas")?.getAttribute("aria-label") ?? ""));
    const box = (await page.locator(".stream canvas").boundingBox())!;
    await page.mouse.move(box.x + 118 + (1.1 / 2) * (box.width - 118), box.y + 22 + 34 + 15);
    await page.locator(".tip", { hasText: "nothing ran" }).getByText("paused").waitFor();
    await page.goto(`${base}tasks?since=${server.cluster.scene.began}&until=${server.cluster.end}`);
    await until(page, "colours of several prefixes", async () => (await inked(page)) >= 3);
    await page.keyboard.press("c");
    await page.waitForFunction(() => location.search.includes("colour=action"));
    await until(page, "one colour for all that computes, and one for transfers", async () => (await inked(page)) <= 2);
    assert.deepEqual(wrong, []);
  });
});

test("many workers are gathered by host, which opens to its workers, and they to their threads", async () => {
  await visiting({ ...BUSY, workers: 400, threads: 2, tasks: 4000 }, {}, async ({ page, base, server, wrong }) => {
    await page.goto(`${base}tasks`);
    await page.getByLabel(/Task stream of 20 lanes, one a host/).waitFor();
    await page.locator("canvas").click({ position: { x: 40, y: 30 } });
    await page.getByLabel(/Task stream of 40 lanes, one a host/).waitFor();
    assert.equal(new URL(page.url()).searchParams.get("hosts"), "10.0.1.1");
    await page.locator(".tools.below select").selectOption("10.0.1.20");
    await page.getByLabel(/Task stream of 60 lanes/).waitFor();
    await until(page, "the strips of an open host are asked for", () => server.queries.some((query) => /lanes=worker.*host=10\.0\.1\.20/.test(query)));
    await page.getByRole("button", { name: "close all" }).click();
    await page.getByLabel(/Task stream of 20 lanes/).waitFor();
    await page.goto(`${base}tasks?hosts=10.0.1.1`);
    await page.getByLabel(/Task stream of 40 lanes/).waitFor();
    const box = await page.locator("canvas").boundingBox();
    await page.locator("canvas").click({ position: { x: 40, y: 22 + 1.5 * Math.floor(((box?.height ?? 0) - 22) / 40) } });
    await page.getByRole("button", { name: "only w0 ✕" }).waitFor();
    await page.getByLabel(/Task stream of 2 lanes, one a thread/).waitFor();
    assert.deepEqual(wrong, []);
  });
});

test("a hundred thousand runs are strips, until one looks close enough", async () => {
  await visiting(LARGE, {}, async ({ page, server, base, wrong }) => {
    const { began } = server.cluster.scene;
    await page.goto(`${base}tasks?since=${began}&until=${server.cluster.end}`);
    await page.waitForFunction(() => document.querySelector(".stream canvas")?.getAttribute("aria-label")?.includes("utilisation"));
    await page.waitForFunction(() => performance.getEntriesByType("resource").some((entry) => entry.name.includes("v1/stream")));
    assert.equal(server.asked.filter((path) => path === "api/cask/v1/runs").length, 0);
    await page.goto(`${base}tasks?since=${began + 10}&until=${began + 10.3}`);
    await page.waitForFunction(() => /[1-9][\d,]* runs/.test(document.querySelector(".stream canvas")?.getAttribute("aria-label") ?? ""));
    assert.deepEqual(wrong, []);
  });
});

test("a connection that is lost is said, and made again", async () => {
  await visiting(BUSY, {}, async ({ page, server, base }) => {
    await page.goto(`${base}status`);
    await live(page);
    server.pull();
    await page.getByText("✕ connection lost").waitFor();
    server.plug();
    await live(page);
    const subscribed = server.said.filter((message) => message.sub === "summary");
    assert.ok(subscribed.length >= 2, "asked again");
  });
});

test("where WebSockets do not get through, pages ask once a second", async () => {
  await visiting(FAILED, { sockets: false }, async ({ page, server, base }) => {
    await page.goto(`${base}problems`);
    await page.getByText("live, once a second").waitFor();
    await page.locator(".failure").first().waitFor();
    assert.ok(server.asked.includes("api/cask/v1/summary"));
  });
});

test("time by activity: functions as bars, the most first, in each unit", async () => {
  await visiting(BUSY, {}, async ({ page, base, wrong }) => {
    for (const path of ["activities", "individual-fine-performance-metrics"]) {
      await page.goto(base + path);
      await page.locator(".activities li").nth(6).waitFor();
      const names = await page.locator(".activities .who").allTextContents();
      assert.equal(names[0].trim(), "random_sample");
      assert.equal(names[names.length - 1].trim(), "(sending results)");
      await page.getByRole("combobox", { name: "function" }).selectOption("sum");
      await page.waitForFunction(() => document.querySelectorAll(".activities li").length === 1);
      await page.getByRole("combobox", { name: "unit" }).selectOption("bytes");
      await page.locator(".legend", { hasText: "477" }).waitFor();
      assert.ok(page.url().includes("function=sum&unit=bytes"));
    }
    assert.deepEqual(wrong, []);
  });
});

test("a profile turns around one function, is compared with another, and saved", async () => {
  await visiting(BUSY, {}, async ({ page, base, wrong }) => {
    await page.goto(`${base}profile`);
    await page.getByRole("link", { name: "clean", exact: true }).click();
    await page.getByText("clean has 50").waitFor();
    await page.getByLabel("Who calls it; the table").waitFor();
    await page.getByRole("region", { name: "Functions" }).getByRole("link", { name: "inc" }).click();
    await page.getByText("inc has 45").waitFor();
    await page.getByLabel("Who calls it; the table").click({ position: { x: 30, y: 2 * 18 - 9 } }); // its caller, just above it
    await page.getByText("clean has 50").waitFor();
    await page.getByRole("button", { name: "all functions" }).click();
    await page.locator("label.choice", { hasText: /^\s*worker/ }).locator("select").selectOption("1");
    await page.locator("label.choice", { hasText: /^\s*compare with/ }).locator("select").selectOption("workers");
    await page.getByLabel(/Difference of two flame graphs, 1,000 samples of all workers and 100 here/).first().waitFor();
    const first = page.getByRole("region", { name: "Changes" }).locator("tbody tr").first();
    assert.match((await first.textContent()) ?? "", /read.*\+32.%.*38.%.*70.%/);
    for (const [name, content] of [["speedscope", /^\{"\$schema"/], ["collapsed stacks", /^execute_task .*;clean .*;inc .* 16$/m]] as const) {
      const coming = page.waitForEvent("download");
      await page.getByRole("button", { name }).click();
      assert.match(readFileSync(await (await coming).path(), "utf8"), content);
    }
    assert.deepEqual(wrong, []);
  });
});

test("a group opens as a map of its chunks", async () => {
  await visiting(BUSY, {}, async ({ page, base, wrong }) => {
    await page.goto(`${base}groups`);
    await page.locator(".graph a", { hasText: "random_sample" }).click();
    await page.getByText("chunks that ran").waitFor();
    const colors = () => page.locator('canvas[aria-label^="Map of"]').evaluate((canvas: HTMLCanvasElement) =>
      new Set(new Uint32Array(canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size);
    await until(page, "chunks in many colours", async () => (await colors()) > 20);
    assert.deepEqual(wrong, []);
  });
});

test("a run that is kept has all the pages below its own address, and is compared with another", async () => {
  await visiting(BUSY, {}, async ({ page, server, base, wrong }) => {
    server.kept.set("yesterday", new Cluster({ ...BUSY, tasks: 1500 }));
    await page.goto(`${base}history`);
    await page.locator(".grid tbody tr").nth(2).waitFor();
    await page.locator(".grid tbody tr", { hasText: "Scheduler-yesterday" }).getByRole("link").click();
    await page.locator(".pill", { hasText: "kept until" }).waitFor();
    assert.equal(page.url(), `${base}history/yesterday/status`);
    await page.locator(".figure", { hasText: "1,500 in all" }).waitFor();
    assert.equal(await page.locator("nav").getByRole("link", { name: "Call stacks" }).count(), 0);
    await page.getByRole("link", { name: "Workers", exact: true }).click();
    await page.locator(".grid tbody tr").first().waitFor();
    assert.equal(page.url(), `${base}history/yesterday/workers`);
    await page.getByRole("link", { name: "all runs" }).click();
    await page.locator(".grid tbody tr", { hasText: "Scheduler-yesterday" }).getByRole("button").click();
    await page.getByText(/^The later one did \d+.% more, .* of work after .*: .* ran [\d,]+ more tasks \(\+/).waitFor();
    await page.locator(".grid tbody tr", { hasText: "random_sample" }).getByText("more tasks").waitFor();
    assert.ok(page.url().endsWith("history?earlier=yesterday"));
    await page.getByRole("button", { name: "the other way round" }).click();
    await page.getByText(/^The later one did \d+.% less/).waitFor();
    assert.deepEqual(wrong, []);
  });
});

test("a hidden tab tells the other side to wait", async () => {
  await visiting(BUSY, {}, async ({ page, server, base }) => {
    await page.goto(`${base}status`);
    await live(page);
    const show = (hidden: boolean) => page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
    await show(true);
    await show(false);
    const heard = () => server.said.filter((message) => "pause" in message).map((message) => message.pause);
    await until(page, "both were heard", () => heard().length >= 2);
    assert.deepEqual(heard(), [true, false]);
  });
});

test("a page that is left takes its subscriptions along", async () => {
  await visiting(BUSY, {}, async ({ page, server, base }) => {
    await page.goto(`${base}workers`);
    await live(page);
    await page.locator(".grid tbody tr").first().waitFor();
    await page.getByRole("link", { name: "Scheduler", exact: true }).click();
    await page.locator("main h1", { hasText: "Scheduler" }).waitFor();
    const workers = server.said.find((message) => message.sub === "workers");
    await until(page, "the subscription ends", () => server.said.some((message) => message.unsub === workers?.id));
  });
});

test("the first load is small", async () => {
  await visiting(BUSY, {}, async ({ page, server, base }) => {
    await page.goto(`${base}status`);
    await live(page);
    await page.locator(".figures").waitFor();
    const files = server.asked.filter((path) => !path.startsWith("api/"));
    const bytes = files.filter((path) => path.startsWith("static/")).reduce((sum, path) => sum + statSync(join(assets, `${path}.gz`)).size, 0);
    assert.ok(files.length <= 5, files.join(" "));
    assert.ok(bytes > 0 && bytes <= 70_000, `${bytes} bytes`);
  });
});

test("narrow windows show everything, without scrolling sideways", async () => {
  await visiting(FAILED, { width: 800 }, async ({ page, base, wrong }) => {
    for (const path of [...ours, ...about]) {
      await page.goto(base + path);
      await live(page);
      await page.locator("main h1").first().waitFor();
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(over, 0, path);
    }
    assert.deepEqual(wrong, []);
  });
});
