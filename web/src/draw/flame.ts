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
