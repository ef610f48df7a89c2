// What the pages compute before anything is drawn.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, bytes, byName, count, duration, percent, rate, shortKey, UNKNOWN } from "../src/base/format";
import { ALARM, GREY, TEN, type Rgb } from "../src/base/colors";
import { compare, sentence } from "../src/data/compare";
import { activityTable, units } from "../src/data/activities";
import { attemptsOf } from "../src/data/attempts";
import { oddities } from "../src/data/odd";
import { folds, framesOf } from "../src/data/traceback";
import { cells, indices } from "../src/draw/chunks";
import { boxes, collapsed, difference, functionOf, sandwich, speedscope, subtree, totals, type ProfileTree } from "../src/draw/flame";
import { gapsOf, neighbour, reasonOf } from "../src/draw/gaps";
import { layout } from "../src/draw/layers";
import { hostOf, laneIndex, lanesOf, pan, Runs, ticks, tickStep, zoom } from "../src/draw/timeline";

const plain = (text: string): string => text.replace(/\u202f/g, " ");

test("numbers carry their unit and about three digits", () => {
  assert.deepEqual([0, 1023, 1024, 1.5 * 2 ** 30, 999.7 * 2 ** 20].map(bytes).map(plain), ["0 B", "1.00 KiB", "1.00 KiB", "1.50 GiB", "0.98 GiB"]);
  assert.deepEqual([0, 0.0000012, 0.0123, 1.5, 59.94, 123, 3723].map(duration).map(plain), ["0 s", "1.20 µs", "12.3 ms", "1.50 s", "59.9 s", "2 min 03", "1 h 02"]);
  assert.deepEqual([0, 999, 1000, 1234567].map(count), ["0", "999", "1,000", "1,234,567"]);
  assert.equal(plain(rate(12345)), "12,345 /s");
  assert.deepEqual([0, 0.0123, 0.5, 3.4].map(percent).map(plain), ["0 %", "1.2 %", "50 %", "340 %"]);
});

test("what is not known is a dash, never a zero", () => {
  for (const value of [null, undefined, NaN, Infinity]) {
    assert.deepEqual([bytes(value), duration(value), count(value), rate(value), percent(value), ago(value, 5)], new Array(6).fill(UNKNOWN));
  }
  assert.equal(bytes(-1), UNKNOWN);
});

test("tokens in keys are shortened, names sorted by their numbers", () => {
  assert.equal(shortKey("('sum-9c5f20a1b3c4d5e6f708192a3b4c5d6e', 3)"), "('sum-9c5f20…', 3)");
  assert.equal(shortKey("inc-1b4e28ba-2fa1-11d2-883f-0016d3cca427"), "inc-1b4e28…");
  assert.deepEqual(["w10", "w9", "w1"].sort(byName), ["w1", "w9", "w10"]);
});

const TRACE = `Traceback (most recent call last):
  File "/home/ada/x.py", line 3, in f
    g(
      1)
  File "/v/lib/python3.11/site-packages/dask/utils.py", line 9, in apply
    return func()
  File "/usr/lib/python3.11/json/__init__.py", line 1, in loads
  File "<frozen importlib>", line 2, in _load
  File "/home/ada/x.py", line 7, in g
    1 / 0
`;

test("a traceback folds the frames of libraries, but never the last one", () => {
  const frames = framesOf(TRACE);
  assert.deepEqual(frames.map((frame) => [frame.name, frame.library]), [["f", undefined], ["apply", "dask"], ["loads", "json"], ["_load", "python"], ["g", undefined]]);
  assert.equal(frames[0].source.length, 2);
  assert.deepEqual(folds(frames).map((fold) => [fold.folded, fold.frames.length]), [[false, 1], [true, 3], [false, 1]]);
  assert.deepEqual(folds(frames.slice(0, 2)).map((fold) => fold.folded), [false]);
  assert.deepEqual(framesOf("no frames here"), []);
});

test("zooming keeps the moment under the pointer where it is, and ends at a microsecond and at two weeks", () => {
  const span = zoom({ since: 100, until: 200 }, 125, 0.5);
  assert.deepEqual(span, { since: 112.5, until: 162.5 });
  assert.deepEqual(pan(span, -12.5), { since: 100, until: 150 });
  const narrow = zoom({ since: 0, until: 1 }, 0.5, 1e-12);
  assert.ok(Math.abs(narrow.until - narrow.since - 1e-6) < 1e-9);
  const wide = zoom({ since: 0, until: 1 }, 0.5, 1e12);
  assert.ok(Math.abs(wide.until - wide.since - 14 * 86400) < 1e-3);
});

test("ticks are round and no more than fit", () => {
  assert.deepEqual([[60, 10], [600, 10], [1, 10], [0.007, 7], [86400, 8]].map(([width, most]) => tickStep(width, most)), [10, 60, 0.1, 0.001, 21600]);
  assert.deepEqual(ticks({ since: 3, until: 21 }, 4), [5, 10, 15, 20]);
  for (const width of [1e-5, 0.3, 7, 90, 5000, 1e6]) {
    assert.ok(ticks({ since: 1.8e9, until: 1.8e9 + width }, 12).length <= 13, String(width));
  }
});

test("lanes are threads where they fit, else workers; runs find theirs either way", () => {
  const workers = [{ id: 2, name: "w10", host: "b", nthreads: 2 }, { id: 1, name: "w9", host: "a", nthreads: 2 }];
  const threads = lanesOf(workers, 100);
  assert.deepEqual(threads.map((lane) => [lane.worker, lane.thread, lane.first]), [[1, 0, true], [1, 1, false], [2, 0, true], [2, 1, false]]);
  assert.equal(laneIndex(threads)(2, 1), 3);
  assert.equal(laneIndex(threads)(7, 0), -1);
  const rolled = lanesOf(workers, 10);
  assert.deepEqual(rolled.map((lane) => [lane.worker, lane.thread]), [[1, -1], [2, -1]]);
  assert.equal(laneIndex(rolled)(2, 1), 1);
});

test("where workers do not fit either, lanes are hosts, and of open ones their workers below them", () => {
  const workers = Array.from({ length: 40 }, (_, index) => ({ id: index + 1, name: `w${index}`, host: `10.0.0.${10 - Math.floor(index / 10)}`, nthreads: 2 }));
  assert.deepEqual(lanesOf(workers, 80).map((lane) => lane.kind).filter((kind) => kind !== "worker"), []);
  const closed = lanesOf(workers, 60);
  assert.deepEqual(closed.map((lane) => lane.name), ["▸ 10.0.0.7 (10)", "▸ 10.0.0.8 (10)", "▸ 10.0.0.9 (10)", "▸ 10.0.0.10 (10)"]);
  const open = lanesOf(workers, 60, new Set(["10.0.0.8"]));
  assert.equal(open.length, 14);
  assert.deepEqual(open.slice(0, 4).map((lane) => lane.name), ["▸ 10.0.0.7 (10)", "▾ 10.0.0.8 (10)", "w20", "w21"]);
  const place = laneIndex(open);
  assert.deepEqual([place(1, 0, "10.0.0.8"), place(21, 0), place(1, 0), place(99, 0, "10.0.0.10")], [1, 2, -1, 13]);
  // One worker a host: nothing to gather.
  assert.equal(lanesOf(workers.map((worker) => ({ ...worker, host: worker.name })), 60).length, 40);
  assert.deepEqual(["tcp://10.0.0.2:40001", "tls://[::1]:8786", "inproc-7"].map(hostOf), ["10.0.0.2", "[::1]", "inproc-7"]);
});

test("a full store of runs forgets the oldest", () => {
  const runs = new Runs(3);
  const row = (n: number) => ({ n, worker: 1, lane: 0, group: 1, start: n, duration: 1, transfer: 0, deserialize: 0.25, disk: 0.5, status: n % 2 === 0 ? "ok" : "error" });
  for (let n = 0; n < 5; n++) {
    runs.add(row(n));
  }
  assert.equal(runs.size, 3);
  assert.equal(runs.earliest(), 2);
  assert.deepEqual([...runs.n].sort(), [2, 3, 4]);
  assert.deepEqual([runs.other[0], runs.failed[0], runs.failed[1]], [0.75, 1, 0]);
});

test("a graph is laid out from inputs to what uses them, whatever its order, cycles too", () => {
  const { nodes, layers, rows } = layout([4, 3, 2, 1], [[1, 2], [1, 3], [2, 4], [3, 4], [9, 4], [4, 4]]);
  const layerOf = new Map(nodes.map((node) => [node.id, node.layer]));
  assert.deepEqual([1, 2, 3, 4].map((id) => layerOf.get(id)), [0, 1, 1, 2]);
  assert.deepEqual([layers, rows], [3, 2]);
  assert.equal(new Set(nodes.map((node) => `${node.layer}/${node.row}`)).size, 4);
  assert.equal(layout([1, 2], [[1, 2], [2, 1]]).nodes.length, 2);
  assert.deepEqual(layout([], []), { nodes: [], layers: 0, rows: 0 });
});

test("crossed lines are uncrossed", () => {
  const { nodes } = layout([1, 2, 3, 4], [[1, 4], [2, 3]]);
  const row = (id: number) => nodes.find((node) => node.id === id)!.row;
  assert.equal(row(1) < row(2), row(4) < row(3));
});

test("chunks stand where their keys say", () => {
  assert.deepEqual(indices("('sum-9c5f', 3, 0)"), [3, 0]);
  assert.deepEqual(indices("('a, b', 7)"), [7]);
  assert.deepEqual(["inc-1", "('x', 'y')", "('x',)", "('x', 1.5)"].map(indices), [undefined, undefined, undefined, undefined]);
  assert.deepEqual(cells([[0, 0], [1, 2], undefined]), [{ x: 0, y: 0 }, { x: 2, y: 1 }, undefined]);
  assert.deepEqual(cells([[0, 5, 0], [1, 4, 0]]), [{ x: 5, y: 0 }, { x: 4, y: 1 }]);
});

const frame = (name: string, samples: number, children: ProfileTree[] = []): ProfileTree => ({
  count: samples, identifier: `${name};x`, description: { name, filename: "f.py", line_number: 1 }, children: Object.fromEntries(children.map((child) => [child.identifier, child])),
});
const PROFILE = frame("root", 10, [frame("a", 7, [frame("b", 3), frame("a", 2)]), frame("b", 2)]);

test("a profile's boxes are as wide as their samples; the narrow ones are left out", () => {
  const list = boxes(PROFILE, 0.25);
  assert.deepEqual(list.map((box) => [box.tree.description.name, box.left, box.width, box.depth, box.self]), [["root", 0, 1, 0, 1], ["a", 0, 0.7, 1, 2], ["b", 0, 0.3, 2, 3]]);
  assert.equal(subtree(PROFILE, list[2].path).count, 3);
  assert.equal(subtree(PROFILE, "\nnowhere"), PROFILE);
});

test("a function that calls itself counts once in its total", () => {
  const sums = new Map(totals(PROFILE).map((row) => [row.name, [row.self, row.total]]));
  assert.deepEqual(sums.get("a"), [4, 7]);
  assert.deepEqual(sums.get("b"), [5, 5]);
});

// name count (what is below it), so that a tree is a line.
const drawn = (tree: ProfileTree): string => {
  const below = Object.values(tree.children).map(drawn);
  return `${tree.description.name} ${tree.count}${below.length > 0 ? ` (${below.join(", ")})` : ""}`;
};

test("a function between those that call it and those it calls, wherever it was called; inside of itself it counts once", () => {
  const [a, b] = ["f.py\na", "f.py\nb"].map((id) => sandwich(PROFILE, id));
  assert.equal(functionOf(PROFILE.children["a;x"]), "f.py\na");
  assert.deepEqual([drawn(b.callees), drawn(b.callers)], ["b 5", "b 5 (a 3)"]);
  assert.deepEqual([drawn(a.callees), drawn(a.callers)], ["a 7 (b 3, a 2)", "a 7"]);
  assert.equal(sandwich(PROFILE, "f.py\nnowhere").callees.count, 0);
});

test("the difference of two profiles has both, as shares of each, and its boxes add up", () => {
  const after = frame("root", 100, [frame("a", 20), frame("c", 60, [frame("d", 60)])]);
  const root = difference(PROFILE, after);
  const { "a;x": a, "b;x": b, "c;x": c } = root.children;
  assert.deepEqual([a, b, c].map((one) => [one.before, one.after]), [[0.7, 0.2], [0.2, 0], [0, 0.6]]);
  assert.deepEqual([root.before, root.after, c.children["d;x"].after, a.children["b;x"].after], [1, 1, 0.6, 0]);
  assert.ok(Object.values(root.children).reduce((sum, child) => sum + child.count, 0) <= root.count);
  assert.deepEqual([difference(frame("root", 0), after).children["a;x"].before, difference(frame("root", 0), after).before], [0, 0]);
});

test("a profile goes to other programs as the stacks that have samples of their own", () => {
  const lines = collapsed(PROFILE).trimEnd().split("\n").sort();
  assert.deepEqual(lines, ["a (f.py:1) 2", "a (f.py:1);a (f.py:1) 2", "a (f.py:1);b (f.py:1) 3", "b (f.py:1) 2"]);
  assert.equal(collapsed(frame("root", 1, [frame("a;b c", 1)])), "a b c (f.py:1) 1\n");
  const { shared, profiles: [one] } = JSON.parse(speedscope(PROFILE, "x"));
  assert.deepEqual(shared.frames.map((each: { name: string }) => each.name).sort(), ["a", "b"]);
  assert.deepEqual([one.type, one.startValue, one.endValue, one.samples.length, one.weights.reduce((sum: number, weight: number) => sum + weight, 0)], ["sampled", 0, 9, 4, 9]);
  assert.ok(one.samples.flat().every((place: number) => place < shared.frames.length));
});

const kind = (name: string, runs: number, seconds: number, transfer = 0) =>
  ({ name, runs, failures: 0, transfer, duration: { total: runs * seconds, p50: seconds, p90: seconds, p99: seconds } });

test("why a run was slower is said in a sentence, the largest difference first", () => {
  const list = compare([kind("load", 100, 0.1), kind("sum", 10, 1), kind("old", 1, 1)], [kind("load", 100, 0.3), kind("sum", 15, 1, 2), kind("new", 1, 2)]);
  assert.deepEqual(list.map((one) => [one.prefix, Number(one.all.toFixed(6)), one.cause]), [["load", 20, "each takes longer"], ["sum", 7, "more tasks"], ["new", 2, "new"], ["old", -1, "gone"]]);
  for (const one of list) {
    const change = one.later.compute + one.later.transfer - one.earlier.compute - one.earlier.transfer;
    assert.ok(Math.abs(one.byCount + one.bySpeed + one.byTransfer - change) < 1e-9, "the parts add up");
  }
  assert.equal(plain(sentence(list)), "The later one did 133 % more, 49.0 s of work after 21.0 s: each load took 3.00 times as long (+20.0 s); sum ran 5 more tasks (+7.00 s).");
});

test("two runs that took the same time, or did nothing, are not explained", () => {
  const same = [kind("load", 100, 0.1)];
  assert.equal(plain(sentence(compare(same, [kind("load", 100, 0.101)]))), "They took the same time, within 5.0 %: 10.1 s of work after 10.0 s.");
  assert.equal(sentence(compare([], [])), "No task ran in either of them.");
  assert.equal(sentence(compare([], same)), "In the earlier one no task ran.");
  assert.equal(plain(sentence(compare(same, [kind("load", 100, 0.05, 1)]))), "The later one did 40 % less, 6.00 s of work after 10.0 s: each load took only 50 % of the time (−4.00 s).");
});

// As people see a colour who lack one kind of cones (Machado, Oliveira, Fernandes 2009; severity 1), in linear sRGB.
const VISIONS: Record<string, readonly (readonly [number, number, number])[]> = {
  all: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranopia: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritanopia: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
};

function lab(color: Rgb, vision: (typeof VISIONS)[string]): number[] {
  const linear = color.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  const [r, g, b] = vision.map((row) => Math.min(1, Math.max(0, row.reduce((sum, weight, index) => sum + weight * linear[index], 0))));
  const f = (t: number) => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116);
  const [x, y, z] = [(0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047, 0.2126 * r + 0.7152 * g + 0.0722 * b, (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883].map(f);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

test("any two colours differ for every kind of colour vision", () => {
  const colors = [...TEN, GREY, ALARM];
  for (const [name, vision] of Object.entries(VISIONS)) {
    const seen = colors.map((color) => lab(color, vision));
    seen.forEach((one, place) => seen.slice(place + 1).forEach((other, after) => {
      const distance = Math.hypot(...one.map((value, axis) => value - other[axis]));
      assert.ok(distance >= 15, `${name}: ${colors[place].join()} and ${colors[place + 1 + after].join()} are ${distance.toFixed(1)} apart`);
    }));
  }
});

test("idle times are those between runs, and say what was known then", () => {
  const runs = new Runs(8);
  const add = (n: number, lane: number, start: number, duration: number, transfer = 0) =>
    runs.add({ n, worker: 1, lane, group: 1, start, duration, transfer, deserialize: 0, disk: 0, status: "ok" });
  add(0, 0, 10, 1);
  add(1, 0, 14, 1, 0.5);
  add(2, 1, 11, 1);
  add(3, 0, 16, 1);
  const gaps = gapsOf(runs, 1, 0, { since: 9, until: 20 }, 0.6);
  assert.deepEqual(gaps.map((gap) => [gap.since, gap.until]), [[9, 10], [11, 13.5], [15, 16]]);
  const facts = { time: [9, 12, 15], processing: [0, 1, NaN], queued: [0, 0, 0], threads: 2, statuses: [{ time: 15.2, worker: 1, status: "paused" }, { time: 1, worker: 1, status: "running" }] };
  assert.deepEqual(gaps.map((gap) => reasonOf(gap, facts)), ["no work", "no task was ready", "paused"]);
  assert.equal(reasonOf(gaps[1], { ...facts, queued: [0, 3, 0] }), "work was queued");
  assert.equal(reasonOf({ worker: 1, since: 100, until: 101 }, { ...facts, statuses: [] }), "idle", "nothing is known of then");
  assert.deepEqual([neighbour(runs, 0, 1), neighbour(runs, 3, -1), neighbour(runs, 2, 1)], [1, 1, undefined]);
});

test("time by activity adds up by function and unit, the most first", () => {
  const row = (context: string, name: string, activity: string, unit: string, total: number) => ({ context, function: name, activity, unit, total });
  const rows = [row("execute", "inc", "thread-cpu", "seconds", 2), row("execute", "inc", "other", "seconds", 1), row("execute", "sum", "other", "seconds", 5), row("get-data", "", "network", "seconds", 4), row("execute", "inc", "memory-read", "bytes", 7)];
  const { bars, activities } = activityTable(rows, "seconds");
  assert.deepEqual(bars.map((bar) => [bar.name, bar.total]), [["sum", 5], ["(sending results)", 4], ["inc", 3]]);
  assert.deepEqual(activities.map((one) => one.activity), ["other", "network", "thread-cpu"]);
  assert.deepEqual(bars[2].parts.map((part) => part.activity), ["other", "thread-cpu"]);
  assert.deepEqual(units(rows), ["seconds", "bytes"]);
  assert.deepEqual(activityTable(rows, "seconds", "inc").bars.length, 1);
});

const input = (key: string, more: object = {}) => ({ key, nbytes: 1e6, type: "DataFrame", shape: "(1000, 3)", dtype: "int64 object", repr: "…", ...more });

test("an input that is not like the others is named, and why", () => {
  const many = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map((key) => input(key));
  assert.equal(oddities(many).size, 0);
  assert.match(oddities([...many, input("k", { type: "NoneType", repr: "None" })]).get("k") ?? "", /^is None$/);
  assert.match(oddities([...many, input("k", { type: "Series" })]).get("k") ?? "", /is a Series; 10 of 11 are DataFrame/);
  assert.match(oddities([...many, input("k", { dtype: "int64 int64" })]).get("k") ?? "", /has the dtype int64 int64; 10 of 11/);
  assert.match(oddities([...many, input("k", { shape: "(1000,)" })]).get("k") ?? "", /has the shape \(1000,\); 10 of 11 have 2 dimensions/);
  assert.match(oddities([...many, input("k", { nbytes: 4e7 })]).get("k") ?? "", /^has 38.1.MiB; the middle one/);
  assert.match(oddities([input("k", { shape: "(0, 3)" })]).get("k") ?? "", /is empty: its shape is \(0, 3\)/);
});

test("a value that is nothing, no number or zero is odd by itself; others of few are not", () => {
  const values = { none: "None", zero: "0", real: "-0.0", nan: "nan", inf: "np.float64(-inf)", empty: "[]", one: "1", text: "'0'", ten: "10" };
  const odd = oddities(Object.entries(values).map(([key, repr], index) => ({ key, repr, type: `t${index}`, nbytes: 28, shape: null, dtype: null })));
  assert.deepEqual([...odd], [["none", "is None"], ["zero", "is zero"], ["real", "is zero"], ["nan", "is not a number"], ["inf", "is infinite"], ["empty", "is empty"]]);
});

test("a run that the scheduler heard of and a worker remembers is one attempt; what only one knows is one, too", () => {
  const record = (start: number, more: object = {}) => ({ status: "failed", start, stop: start + 1, cpu_user: 0.5, cpu_system: 0.25, rss_peak: 9, rss_growth: 1, read_bytes: 0, written_bytes: 0, output: "x", ...more });
  const runs = [{ worker: 2, status: "error", start: 20.001, duration: 1, transfer: 0.5 }, { worker: 7, status: "ok", start: 30, duration: 1, transfer: 0 }];
  const idOf = (address: string) => Number(address);
  const told = { 1: [record(10)], 2: [record(20), record(25, { status: "running" })] };
  const attempts = attemptsOf(runs, told, { worker: "2", attempts: [record(20)] }, idOf);
  assert.deepEqual(attempts.map((one) => [one.start, one.worker, one.cpu, one.transfer, one.output]),
    [[10, 1, 0.75, undefined, "x"], [20, 2, 0.75, 0.5, "x"], [25, 2, undefined, undefined, "x"], [30, 7, undefined, 0, undefined]]);
  // When no worker can be asked, what was kept as it failed.
  assert.deepEqual(attemptsOf([], {}, { worker: "2", attempts: [record(20)] }, idOf).map((one) => one.peak), [9]);
  assert.deepEqual(attemptsOf([], {}, { worker: null, attempts: null }, idOf), []);
});
