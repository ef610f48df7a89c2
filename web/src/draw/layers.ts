// Lays a directed graph out in layers, inputs left of what uses them, with few crossings: layers by the longest path,
// then each layer is sorted by where its neighbours stand, back and forth. Pure; for some hundreds of nodes.
export interface Placed {
  id: number;
  layer: number;
  row: number;
}

export interface Layout {
  nodes: Placed[];
  layers: number;
  rows: number; // of the longest layer
}

const SWEEPS = 6;

// The longest path to each node. A cycle (groups may depend on each other, tasks cannot) is cut where it closes.
function layerOf(ids: readonly number[], inputs: ReadonlyMap<number, readonly number[]>): Map<number, number> {
  const layer = new Map<number, number>();
  const open = new Set<number>();
  for (const root of ids) {
    const stack = [root];
    while (stack.length > 0) {
      const id = stack[stack.length - 1];
      if (layer.has(id)) {
        stack.pop();
        continue;
      }
      open.add(id);
      const missing = (inputs.get(id) ?? []).filter((input) => !layer.has(input) && !open.has(input));
      if (missing.length > 0) {
        stack.push(...missing);
        continue;
      }
      const known = (inputs.get(id) ?? []).map((input) => layer.get(input) ?? -1);
      layer.set(id, known.reduce((most, one) => Math.max(most, one), -1) + 1);
      open.delete(id);
      stack.pop();
    }
  }
  return layer;
}

function middle(rows: readonly number[]): number | undefined {
  return rows.length === 0 ? undefined : rows.reduce((sum, row) => sum + row, 0) / rows.length;
}

export function layout(ids: readonly number[], edges: readonly (readonly [number, number])[]): Layout {
  const inside = new Set(ids);
  const inputs = new Map<number, number[]>();
  const users = new Map<number, number[]>();
  for (const [from, to] of edges) {
    if (inside.has(from) && inside.has(to) && from !== to) {
      inputs.set(to, [...(inputs.get(to) ?? []), from]);
      users.set(from, [...(users.get(from) ?? []), to]);
    }
  }
  const layer = layerOf(ids, inputs);
  const layers: number[][] = [];
  for (const id of ids) {
    const at = layer.get(id) ?? 0;
    (layers[at] ??= []).push(id);
  }
  for (let at = 0; at < layers.length; at++) {
    layers[at] ??= [];
  }
  const row = new Map<number, number>();
  const place = () => layers.forEach((list) => list.forEach((id, index) => row.set(id, index - (list.length - 1) / 2)));
  place();
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const neighbours = sweep % 2 === 0 ? inputs : users;
    const order = sweep % 2 === 0 ? layers : [...layers].reverse();
    for (const list of order) {
      const wish = new Map(list.map((id) => [id, middle((neighbours.get(id) ?? []).map((other) => row.get(other) ?? 0)) ?? row.get(id) ?? 0]));
      list.sort((one, other) => (wish.get(one) ?? 0) - (wish.get(other) ?? 0) || one - other);
      place();
    }
  }
  const rows = layers.reduce((most, list) => Math.max(most, list.length), 0);
  return { nodes: ids.map((id) => ({ id, layer: layer.get(id) ?? 0, row: row.get(id) ?? 0 })), layers: layers.length, rows };
}
