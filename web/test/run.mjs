// Bundles the pages and their tests (TypeScript needs that on Node 18), and runs the tests:
//
//   node web/test/run.mjs unit|browser [NAME]       or     --serve SCENE [PORT]
//
// NAME, an expression, chooses tests.
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { bundle } from "../build.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const what = process.argv[2];
if (!["unit", "browser", "--serve"].includes(what)) {
  console.error("usage: run.mjs unit|browser [NAME] | --serve SCENE [PORT]");
  process.exit(2);
}
const folder = mkdtempSync(join(tmpdir(), "cask-pages-"));
try {
  symlinkSync(join(here, "../node_modules"), join(folder, "node_modules"));
  const assets = join(folder, "assets");
  const pattern = what === "unit" ? /\.unit\.ts$/ : what === "browser" ? /\.browser\.ts$/ : /^serve\.ts$/;
  const names = readdirSync(here).filter((name) => pattern.test(name));
  await esbuild.build({
    entryPoints: names.map((name) => join(here, name)),
    outdir: join(folder, "test"),
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node18",
    external: ["playwright-core", "axe-core"],
    logLevel: "warning",
  });
  if (what !== "unit") {
    await bundle(assets);
  }
  const files = names.map((name) => join(folder, "test", name.replace(/\.ts$/, ".mjs")));
  const only = process.argv[3] === undefined ? [] : ["--test-name-pattern", process.argv[3]];
  const words = what === "--serve" ? [files[0], assets, ...process.argv.slice(3)] : ["--test", ...only, ...files];
  const child = spawn(process.execPath, words, { stdio: "inherit", env: { ...process.env, CASK_PAGES: assets } });
  process.exitCode = await new Promise((resolve) => child.on("exit", (code) => resolve(code ?? 1)));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
