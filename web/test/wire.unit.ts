// The frames of api/cask/v1/live, made by hand after docs/observer.md.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CHANNELS, channelNamed, rowsOf } from "../src/wire/channels";
import { decodeFrame, FrameError, Mode, type Column } from "../src/wire/frame";
import { Table } from "../src/data/table";
import { Cluster, FAILED } from "./cluster";
import { encodeFrame } from "./encode";

const bytes = (hex: string): ArrayBuffer => new Uint8Array(hex.replace(/\s/g, "").match(/../g)!.map((pair) => parseInt(pair, 16))).buffer;

// Two log lines, byte by byte: header, a directory of three columns, n (f64), level (u8, padded), text.
const LOGS = `
  01 02 06 00  03 00 00 00  07 00 00 00  02 00 00 00  00 00 00 00 00 00 f8 3f  03 00 00 00 00 00 00 00
  01 00 00 00 10 00 00 00   04 00 02 00 02 00 00 00   05 00 04 00 11 00 00 00
  00 00 00 00 00 00 f0 3f   00 00 00 00 00 00 00 40
  14 28 00 00 00 00 00 00
  00 00 00 00 02 00 00 00 05 00 00 00  68 69 e2 82 ac  00 00 00 00 00 00 00`;

test("a frame written down byte by byte is read as the contract says", () => {
  const frame = decodeFrame(bytes(LOGS));
  assert.equal(frame.mode, Mode.Append);
  assert.deepEqual([frame.channel, frame.id, frame.sequence, frame.rows, frame.time], [6, 3, 7, 2, 1.5]);
  assert.deepEqual(rowsOf(frame), [{ n: 1, level: 20, text: "hi" }, { n: 2, level: 40, text: "€" }]);
});

test("all types come back as they were sent, numbers as views of the received bytes", () => {
  const columns: [number, Column][] = [
    [0, Float64Array.of(1.25, -1)], [1, Float32Array.of(0.5, 2)], [2, Uint32Array.of(7, 4294967295)], [3, Uint8Array.of(0, 255)], [4, ["", "naïve ✕"]], [5, Uint16Array.of(0, 65535)],
  ];
  const buffer = encodeFrame({ channel: 2, id: 9, rows: 2, columns });
  const frame = decodeFrame(buffer);
  for (const [number, column] of columns) {
    assert.deepEqual(frame.columns.get(number), column);
  }
  assert.equal((frame.columns.get(0) as Float64Array).buffer, buffer);
});

test("a column of a type from the future is skipped, those after it are read", () => {
  const buffer = encodeFrame({ channel: 2, id: 1, rows: 1, columns: [[0, Uint32Array.of(5)], [1, Uint32Array.of(6)]] });
  new DataView(buffer).setUint8(32, 99);
  const frame = decodeFrame(buffer);
  assert.equal(frame.columns.has(0), false);
  assert.deepEqual(frame.columns.get(1), Uint32Array.of(6));
});

test("a column of one value is every row's", () => {
  const one = encodeFrame({ channel: 2, id: 1, rows: 1, columns: [[0, Uint8Array.of(5)], [1, ["on"]], [5, Float64Array.of(0.5)]] });
  const view = new DataView(one);
  view.setUint32(12, 3, true);
  [0, 1, 2].forEach((entry) => view.setUint8(32 + 8 * entry, view.getUint8(32 + 8 * entry) | 0x80));
  assert.deepEqual(rowsOf(decodeFrame(one)), Array(3).fill({ id: 5, status: "on", limit: 0.5 }));
});

test("a row keeps what an upsert leaves out", () => {
  const table = new Table<{ id: number; name: string; runs: number }>("id");
  table.apply({ mode: Mode.Replace, time: 1, lost: false, rows: [{ id: 1, name: "a", runs: 0 }, { id: 2, name: "b", runs: 0 }] });
  table.apply({ mode: Mode.Upsert, time: 2, lost: false, rows: [{ id: 2, runs: 7 }] });
  assert.deepEqual(table.list(), [{ id: 1, name: "a", runs: 0 }, { id: 2, name: "b", runs: 7 }]);
});

test("a column that the table lacks is left out of the rows", () => {
  const frame = decodeFrame(encodeFrame({ channel: 6, id: 1, rows: 1, columns: [[0, Float64Array.of(1)], [77, Uint32Array.of(5)]] }));
  assert.deepEqual(rowsOf(frame), [{ n: 1 }]);
});

test("whatever is cut off or made longer is refused, and never read beyond", () => {
  const whole = bytes(LOGS);
  for (let size = 0; size < whole.byteLength - 7; size++) {
    assert.throws(() => decodeFrame(whole.slice(0, size)), FrameError, `${size} bytes`);
  }
});

test("hostile lengths and offsets are refused", () => {
  const change = (at: number, value: number) => {
    const buffer = bytes(LOGS);
    new DataView(buffer).setUint32(at, value, true);
    return buffer;
  };
  for (const [at, value] of [[12, 0xffffffff], [24, 0x20000000], [36, 0xfffffff8], [36, 8], [84, 9], [88, 1]]) {
    assert.throws(() => decodeFrame(change(at, value)), FrameError, `${value} at ${at}`);
  }
  const old = bytes(LOGS);
  new DataView(old).setUint8(0, 2);
  assert.throws(() => decodeFrame(old), /version 2/);
});

test("each channel's JSON gives the columns that its frames have", () => {
  const cluster = new Cluster({ ...FAILED, tasks: 200 });
  for (const channel of Object.values(CHANNELS)) {
    const url = new URL(channel.path, "http://localhost/");
    const rows = channel.rows(cluster.answer(url.pathname.slice(1), url.searchParams).body);
    assert.ok(rows.length > 0, channel.name);
    for (const name of channel.columns) {
      assert.notEqual(rows[0][name], undefined, `${channel.name}.${name}`);
    }
  }
});

test("channels have the numbers of the contract", () => {
  assert.deepEqual(["summary", "workers", "groups", "stream", "failures", "logs"].map(channelNamed), [1, 2, 3, 4, 5, 6]);
  assert.throws(() => channelNamed("nothing"));
});
