// Chromium in a real JupyterLab: gives dask-labextension the dashboard's address, launches plots, and prints as JSON
// what the sidebar lists, what each panel shows, and what went wrong.
//
//   node test/labextension/browser.mjs LAB_URL DASHBOARD_PATH PLOT…
import { createRequire } from "node:module";

const { chromium } = createRequire(new URL("../../web/package.json", import.meta.url))("playwright-core");
const [lab, dashboard, ...plots] = process.argv.slice(2);

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
try {
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
  const refused = [];
  const frames = {}; // path of a panel → bytes that came over its WebSockets
  page.setDefaultTimeout(240_000);
  page.on("response", (answer) => answer.url().includes(dashboard) && answer.status() >= 400 && refused.push(`${answer.status()} ${answer.url()}`));
  page.on("websocket", (socket) => {
    if (socket.url().includes("api/cask/v1/live")) {
      frames.live ??= 0;
      socket.on("framereceived", ({ payload }) => (frames.live += payload.length));
    }
  });
  await page.goto(lab);
  await page.locator('.lm-TabBar-tab[data-id="dask-dashboard-launcher"]').click();
  await page.locator(".dask-URLInput input").fill(dashboard);
  await page.keyboard.press("Enter");
  const buttons = page.locator(".dask-DashboardListing-item button:enabled");
  await buttons.first().waitFor();
  const listed = await buttons.allTextContents();
  const panels = {};
  for (const plot of plots) {
    await buttons.filter({ hasText: new RegExp(`^${plot}$`, "i") }).click();
    // The newest tab is the one that is seen.
    const frame = page.frameLocator(".lm-DockPanel .dask-DaskDashboard-widget:not(.lm-mod-hidden) iframe, .lm-DockPanel .lm-Widget:not(.lm-mod-hidden) > iframe").last();
    await frame.locator("main.bare > *").first().waitFor();
    panels[plot] = (await frame.locator("main").innerText()).slice(0, 200);
  }
  for (const given = Date.now() + 60_000; !(frames.live > 0) && Date.now() < given; ) {
    await page.waitForTimeout(100);
  }
  console.log(JSON.stringify({ listed, panels, live_bytes: frames.live ?? 0, refused }));
} finally {
  await browser.close();
}
