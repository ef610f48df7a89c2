// Tabs in a real Chromium, for bench/dashboard.py: one JSON object a line on stdin, one back on stdout.
//
//   {"do": "open", "urls": […], "drawn": bool}   all tabs, one after the other → [{url, first_ms, requests, bytes, socket_bytes}]
//                                        drawn: waits for data, and tells first_ms, from the beginning of navigation on
//   {"do": "socket"}                     bytes that came over WebSockets since the last time, of all tabs
//   {"do": "heap"}                       bytes of JavaScript's heaps after a collection
//   {"do": "zoom", "frames": n}          on the first tab, the task stream: ms of each frame's drawing
//   {"do": "close"}                      all tabs
//
// The end of stdin ends it.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { chromium } = createRequire(new URL("../web/package.json", import.meta.url))("playwright-core");

// Runs in the page, frame after frame, until there is something to look at.
function watch() {
  const found = {
    status: "main .panel", groups: "main .node, main .grid tbody tr", graph: "main .node, main .grid tbody tr", workers: "main .grid tbody tr", memory: "main .grid tbody tr",
    scheduler: "main dl.stats", logs: "main .log tr", system: "main .panel",
  };
  const page = location.pathname.split("/").pop();
  const isDrawn = (canvas) => {
    const pixels = canvas.width === 0 ? [] : canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const first = pixels.slice(0, 4).join();
    for (let at = 0; at < pixels.length; at += 4 * 97) {
      if (pixels.slice(at, at + 4).join() !== first) {
        return true;
      }
    }
    return false;
  };
  const drawn = window.requestAnimationFrame.bind(window);
  const frames = (window.frames_ms = []);
  window.requestAnimationFrame = (callback) => drawn((now) => {
    const begin = performance.now();
    callback(now);
    frames.push(performance.now() - begin);
  });
  const look = () => {
    const isThere = page === "tasks" ? [...document.querySelectorAll("main canvas")].some(isDrawn)
      : found[page] === undefined ? document.querySelector("main h1") !== null && document.querySelector(".pill.good") !== null
      : document.querySelector(found[page]) !== null;
    if (isThere) {
      window.first_ms = performance.now();
    } else {
      drawn(look);
    }
  };
  drawn(look);
}

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
const tabs = [];
const PATIENCE_MS = 60_000;

async function open(url, drawn) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  const control = await context.newCDPSession(page);
  const tab = { page, context, control, url, bytes: 0, requests: 0, socket: 0 };
  tabs.push(tab);
  page.setDefaultTimeout(PATIENCE_MS);
  await control.send("Network.enable");
  control.on("Network.loadingFinished", (event) => {
    tab.bytes += event.encodedDataLength;
    tab.requests++;
  });
  control.on("Network.webSocketFrameReceived", ({ response }) => {
    tab.socket += response.opcode === 2 ? Buffer.byteLength(response.payloadData, "base64") : Buffer.byteLength(response.payloadData);
  });
  if (drawn) {
    await page.addInitScript(watch);
  }
  await page.goto(url, { waitUntil: "load" });
  if (drawn) {
    // Not waitForFunction, which the page's policy forbids.
    for (const given = Date.now() + PATIENCE_MS; !(await page.evaluate(() => window.first_ms !== undefined)); ) {
      if (Date.now() > given) {
        throw new Error(`${url} shows nothing: ${await page.locator("main").innerText()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  const { bytes, requests, socket } = tab;
  return { url, first_ms: await page.evaluate(() => window.first_ms), requests, bytes, socket_bytes: socket };
}

async function heap(tab) {
  await tab.control.send("HeapProfiler.collectGarbage");
  return (await tab.control.send("Runtime.getHeapUsage")).usedSize;
}

// From the whole to about a millisecond, and back, at the middle of the stream.
async function zoom(tab, frames) {
  const box = await tab.page.locator("main canvas").first().boundingBox();
  await tab.page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await tab.page.evaluate(() => window.frames_ms.splice(0));
  for (let i = 0; i < frames; i++) {
    await tab.page.mouse.wheel(0, i < frames / 2 ? -120 : 120);
    await tab.page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 0)));
  }
  return tab.page.evaluate(() => window.frames_ms);
}

const doing = {
  open: async ({ urls, drawn }) => {
    const pages = [];
    for (const url of urls) {
      pages.push(await open(url, drawn));
    }
    return pages;
  },
  socket: () => tabs.reduce((sum, tab) => {
    const { socket } = tab;
    tab.socket = 0;
    return sum + socket;
  }, 0),
  heap: async () => (await Promise.all(tabs.map(heap))).reduce((a, b) => a + b, 0),
  zoom: ({ frames }) => zoom(tabs[0], frames),
  close: async () => {
    await Promise.all(tabs.splice(0).map((tab) => tab.context.close()));
    return true;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const wish = JSON.parse(line);
  console.log(JSON.stringify(await doing[wish.do](wish)));
}
await browser.close();
