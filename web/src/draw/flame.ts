// Dask's profile (a tree of counted frames) as the boxes of a flame graph, root on top. Pure.
export interface ProfileTree {
  count: number;
  identifier: string;
  description: { name?: string; filename?: string; line_number?: number; line?: string };
  children: Record<string, ProfileTree>;
}

export interface Box {
  left: number; // share of the whole, 0 to 1
  width: number;
  depth: number;
  self: number; // samples in it and in nothing below it
  tree: ProfileTree;
  path: string; // identifiers from the root, which name it
}

const DEPTH_MOST = 200;

// Children by weight, heaviest left; boxes narrower than `least` (a share) are left out, nobody could see them.
export function boxes(root: ProfileTree, least: number): Box[] {
  const out: Box[] = [];
  const stack: Box[] = [{ left: 0, width: 1, depth: 0, self: 0, tree: root, path: "" }];
  while (stack.length > 0) {
    const box = stack.pop() as Box;
    const children = Object.values(box.tree.children).sort((one, other) => other.count - one.count);
    box.self = Math.max(0, box.tree.count - children.reduce((sum, child) => sum + child.count, 0));
    out.push(box);
    let left = box.left;
    for (const child of box.depth < DEPTH_MOST ? children : []) {
      const width = root.count > 0 ? child.count / root.count : 0;
      if (width >= least) {
        stack.push({ left, width, depth: box.depth + 1, self: 0, tree: child, path: `${box.path}\n${child.identifier}` });
      }
      left += width;
    }
  }
  return out;
}

export interface Total {
  name: string;
  place: string;
  self: number;
  total: number;
}

// Each function once, with its samples wherever it was called from; inside of itself it counts once.
export function totals(root: ProfileTree): Total[] {
  const sums = new Map<string, Total>();
  const walk: { tree: ProfileTree; inside: ReadonlySet<string> }[] = [{ tree: root, inside: new Set() }];
  while (walk.length > 0) {
    const { tree, inside } = walk.pop() as (typeof walk)[number];
    const { name, filename, line_number: line } = tree.description;
    const id = `${filename}\n${name}`;
    const children = Object.values(tree.children);
    if (tree !== root && name) {
      const sum = sums.get(id) ?? { name, place: `${filename ?? ""}:${line ?? ""}`, self: 0, total: 0 };
      sum.self += Math.max(0, tree.count - children.reduce((all, child) => all + child.count, 0));
      sum.total += inside.has(id) ? 0 : tree.count;
      sums.set(id, sum);
    }
    const within = new Set(inside).add(id);
    children.forEach((child) => walk.push({ tree: child, inside: within }));
  }
  return [...sums.values()];
}

// At a path as Box has it; the root where there is no such frame any more.
export function subtree(root: ProfileTree, path: string): ProfileTree {
  let tree = root;
  for (const identifier of path.split("\n").slice(1)) {
    const child = Object.values(tree.children).find((one) => one.identifier === identifier);
    if (child === undefined) {
      return root;
    }
    tree = child;
  }
  return tree;
}

export const functionOf = (tree: ProfileTree): string => `${tree.description.filename ?? ""}\n${tree.description.name ?? ""}`;

const merged = (into: Record<string, ProfileTree>, tree: ProfileTree, count: number): ProfileTree => {
  const known = into[tree.identifier] ?? { count: 0, identifier: tree.identifier, description: tree.description, children: {} };
  known.count += count;
  into[tree.identifier] = known;
  return known;
};

// One function in the middle: below it what it calls, wherever it was called; above it, turned over, who calls it, with
// the samples that are in it. Where it is inside of itself it counts once.
export function sandwich(root: ProfileTree, id: string): { callers: ProfileTree; callees: ProfileTree } {
  const empty = (): ProfileTree => ({ count: 0, identifier: id, description: { name: id.split("\n")[1], filename: id.split("\n")[0] }, children: {} });
  const callers = empty();
  const callees = empty();
  const walk: { tree: ProfileTree; above: readonly ProfileTree[] }[] = [{ tree: root, above: [] }];
  while (walk.length > 0) {
    const { tree, above } = walk.pop() as (typeof walk)[number];
    if (tree === root || functionOf(tree) !== id) {
      Object.values(tree.children).forEach((child) => walk.push({ tree: child, above: tree === root ? [] : [...above, tree] }));
      continue;
    }
    callees.description = callers.description = tree.description;
    callers.count += tree.count;
    callees.count += tree.count;
    let at = callers;
    for (const caller of [...above].reverse()) {
      at = merged(at.children, caller, tree.count);
    }
    const copies = [{ from: tree, to: callees }];
    while (copies.length > 0) {
      const { from, to } = copies.pop() as (typeof copies)[number];
      Object.values(from.children).forEach((child) => copies.push({ from: child, to: merged(to.children, child, child.count) }));
    }
  }
  return { callers, callees };
}

export interface DifferenceTree extends ProfileTree {
  before: number; // shares of all, 0 to 1
  after: number;
  children: Record<string, DifferenceTree>;
}

const SCALE = 1e6;

// Both in one tree. A box is as wide as the mean of its two shares, so that boxes add up and what is only in one of them
// is seen, too.
export function difference(before: ProfileTree, after: ProfileTree): DifferenceTree {
  const share = (tree: ProfileTree | undefined, whole: ProfileTree) => (tree === undefined || whole.count === 0 ? 0 : tree.count / whole.count);
  const make = (one: ProfileTree | undefined, other: ProfileTree | undefined): DifferenceTree => {
    const { identifier, description } = (other ?? one) as ProfileTree;
    const [was, is] = [share(one, before), share(other, after)];
    return { count: ((was + is) / 2) * SCALE, before: was, after: is, identifier, description, children: {} };
  };
  const root = make(before, after);
  const walk: { one?: ProfileTree; other?: ProfileTree; into: DifferenceTree }[] = [{ one: before, other: after, into: root }];
  while (walk.length > 0) {
    const { one, other, into } = walk.pop() as (typeof walk)[number];
    for (const name of new Set([...Object.keys(one?.children ?? {}), ...Object.keys(other?.children ?? {})])) {
      const pair = { one: one?.children[name], other: other?.children[name] };
      into.children[name] = make(pair.one, pair.other);
      walk.push({ ...pair, into: into.children[name] });
    }
  }
  return root;
}

// Each stack that has samples of its own, outermost first.
function stacks(root: ProfileTree): { frames: ProfileTree[]; self: number }[] {
  const found: { frames: ProfileTree[]; self: number }[] = [];
  const walk: { tree: ProfileTree; frames: ProfileTree[] }[] = [{ tree: root, frames: [] }];
  while (walk.length > 0) {
    const { tree, frames } = walk.pop() as (typeof walk)[number];
    const children = Object.values(tree.children);
    const self = tree.count - children.reduce((sum, child) => sum + child.count, 0);
    if (self > 0 && frames.length > 0) {
      found.push({ frames, self });
    }
    children.forEach((child) => walk.push({ tree: child, frames: [...frames, child] }));
  }
  return found;
}

const frameName = (tree: ProfileTree): string => tree.description.name || tree.identifier;

// As flamegraph.pl and many others read it: a line a stack.
export function collapsed(root: ProfileTree): string {
  const clean = (tree: ProfileTree) => `${frameName(tree)} (${tree.description.filename ?? "?"}:${tree.description.line_number ?? "?"})`.replace(/[;\s]+/g, " ");
  return stacks(root).map(({ frames, self }) => `${frames.map(clean).join(";")} ${Math.round(self)}\n`).join("");
}

// https://www.speedscope.app/file-format-schema.json
export function speedscope(root: ProfileTree, name: string): string {
  const frames: { name: string; file?: string; line?: number }[] = [];
  const places = new Map<string, number>();
  const placeOf = (tree: ProfileTree): number => {
    const known = places.get(tree.identifier);
    if (known !== undefined) {
      return known;
    }
    places.set(tree.identifier, frames.length);
    return frames.push({ name: frameName(tree), file: tree.description.filename, line: tree.description.line_number }) - 1;
  };
  const all = stacks(root);
  const samples = all.map((stack) => stack.frames.map(placeOf));
  const weights = all.map(({ self }) => self);
  const endValue = weights.reduce((sum, weight) => sum + weight, 0);
  return JSON.stringify({
    $schema: "https://www.speedscope.app/file-format-schema.json",
    shared: { frames },
    profiles: [{ type: "sampled", name, unit: "none", startValue: 0, endValue, samples, weights }],
    name,
    exporter: "cask",
  });
}
