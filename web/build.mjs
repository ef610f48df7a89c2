// Bundles the pages and writes what the program embeds.
//
//   node web/build.mjs --out DIR [--depfile FILE]
//
// Into DIR/assets go the files as the browser gets them (their names carry a hash of their content, so they may be cached
// for ever) and, gzipped, as the program holds them; into DIR assets_data.S, which includes those byte for byte, and
// assets_table.c, which says what they are called. The shells are small and for every client: they stay plain. Same
// sources, same bytes.
import * as esbuild from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

const web = dirname(fileURLToPath(import.meta.url));
const TYPES = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html; charset=utf-8" };
// A page's address has at most two folders in it (info/task/KEY.html): for each depth a shell that finds its way back.
const REPORT = "report-shell.html";
const BASES = ["./", "../", "../../"];

const OPTIONS = {
  absWorkingDir: web,
  bundle: true,
  minify: true,
  target: "es2022",
  charset: "utf8",
  jsx: "automatic",
  jsxImportSource: "preact",
  loader: { ".svg": "copy" },
  legalComments: "inline",
  metafile: true,
  logLevel: "warning",
};

// The pages in one file, with a place for the data: scripts that files load must not be modules.
async function bundleReport(out) {
  const result = await esbuild.build({ ...OPTIONS, entryPoints: ["src/report.tsx"], outdir: out, format: "iife", write: false });
  const made = (extension) => result.outputFiles.find((file) => file.path.endsWith(extension)).text;
  const parts = { STYLE: made(".css"), PROGRAM: packed(Buffer.from(made(".js"))).toString("base64") };
  const shell = readFileSync(join(web, "src/report.html"), "utf8");
  writeFileSync(join(out, REPORT), shell.replace(/@(STYLE|PROGRAM)@/g, (_, name) => parts[name]));
  return Object.keys(result.metafile.inputs);
}

// Bundles into the folder `out`, which is made anew; the names of what the program serves, and the sources.
export async function bundle(out) {
  rmSync(out, { recursive: true, force: true });
  mkdirSync(join(out, "static"), { recursive: true });
  const result = await esbuild.build({
    ...OPTIONS,
    entryPoints: ["src/main.tsx", "src/icon.svg"],
    outdir: join(out, "static"),
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    splitting: true,
    format: "esm",
  });
  const made = readdirSync(join(out, "static")).sort();
  // Beside the entry's there are chunks, which the entry itself fetches.
  const named = (extension) => `static/${made.find((name) => /^(main|icon)-/.test(name) && extname(name) === extension)}`;
  const shell = readFileSync(join(web, "src/shell.html"), "utf8");
  BASES.forEach((base, depth) => {
    const names = { BASE: base, SCRIPT: named(".js"), STYLE: named(".css"), ICON: named(".svg") };
    const text = shell.replace(/@([A-Z]+)@/g, (_, name) => names[name]);
    writeFileSync(join(out, `shell-${depth}.html`), text);
  });
  made.forEach((name) => pack(out, `static/${name}`));
  const files = [...made.map((name) => `static/${name}`), ...BASES.map((_, depth) => `shell-${depth}.html`), REPORT];
  const inputs = [...Object.keys(result.metafile.inputs), ...(await bundleReport(out))];
  return { files, inputs: [...new Set(inputs)].map((path) => resolve(web, path)) };
}

function packed(data) {
  const bytes = gzipSync(data, { level: 9 });
  bytes[9] = 3; // the header's operating system, which zlib takes from where it was built
  return bytes;
}

function pack(out, path) {
  writeFileSync(join(out, `${path}.gz`), packed(readFileSync(join(out, path))));
}

function embed(out, files) {
  const data = ['    .section .rodata.assets, "a", @progbits'];
  const table = ['#include "observer/assets.h"', "", "#include <stddef.h>", ""];
  const rows = [];
  files.forEach((path, number) => {
    const plain = extname(path) === ".html";
    const bytes = readFileSync(join(out, plain ? path : `${path}.gz`));
    const etag = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
    const symbol = `asset_${number}`;
    data.push(`    .balign 8`, `    .global ${symbol}`, `${symbol}:`, `    .incbin "${join(out, path)}${plain ? "" : ".gz"}"`);
    table.push(`extern const unsigned char ${symbol}[];`);
    rows.push(`    {"${path}", "${TYPES[extname(path)]}", "\\"${etag}\\"", ${symbol}, ${bytes.length}, ${!plain}},`);
  });
  data.push('    .section .note.GNU-stack, "", @progbits');
  table.push("", "const struct asset assets_table[] = {", ...rows, "};", `const size_t assets_count = ${files.length};`);
  writeFileSync(join(out, "..", "assets_data.S"), data.join("\n") + "\n");
  writeFileSync(join(out, "..", "assets_table.c"), table.join("\n") + "\n");
}

async function main() {
  const { values } = parseArgs({ options: { out: { type: "string" }, depfile: { type: "string" } } });
  if (values.out === undefined) {
    throw new Error("usage: build.mjs --out DIR [--depfile FILE]");
  }
  const out = resolve(values.out);
  const { files, inputs } = await bundle(join(out, "assets"));
  embed(join(out, "assets"), files);
  if (values.depfile !== undefined) {
    const all = [...inputs, join(web, "build.mjs"), join(web, "src/shell.html"), join(web, "src/report.html"), join(web, "package-lock.json")];
    writeFileSync(values.depfile, `${basename("assets_table.c")}: ${all.map((path) => path.replace(/ /g, "\\ ")).join(" ")}\n`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main();
}
