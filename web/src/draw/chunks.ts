// Keys such as ('sum-9c5f…', 3, 0) stand on a grid: which one is read from the key itself, as text. Pure.
const TUPLE = /^\(\s*(['"]).*?\1\s*,(.*)\)$/s;

// The whole numbers after a tuple key's name; undefined for other keys.
export function indices(key: string): number[] | undefined {
  const found = TUPLE.exec(key);
  if (found === null) {
    return undefined;
  }
  const parts = found[2].split(",").map((part) => part.trim()).filter((part) => part !== "");
  const numbers = parts.map(Number);
  return parts.length > 0 && numbers.every(Number.isInteger) ? numbers : undefined;
}

export interface Cell {
  x: number;
  y: number;
}

// The last two axes that vary become x and y; the others follow one another downwards.
export function cells(list: readonly (number[] | undefined)[]): (Cell | undefined)[] {
  const ranks = Math.max(0, ...list.map((one) => one?.length ?? 0));
  const sizes = Array.from({ length: ranks }, (_, axis) => list.reduce((most, one) => Math.max(most, (one?.[axis] ?? 0) + 1), 1));
  const wide = sizes.map((size, axis) => (size > 1 ? axis : -1)).filter((axis) => axis >= 0);
  const xAxis = wide[wide.length - 1] ?? ranks - 1;
  const above = wide.slice(0, -1);
  return list.map((one) => {
    if (one === undefined || ranks === 0) {
      return undefined;
    }
    const y = above.reduce((sum, axis) => sum * sizes[axis] + (one[axis] ?? 0), 0);
    return { x: one[xAxis] ?? 0, y };
  });
}
