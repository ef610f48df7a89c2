// Which of a failed task's inputs is not like the others, and why: what a person would look for first. Pure; a guess by
// rules, which the page calls so.
import { bytes } from "../base/format";
import type { Json } from "../wire/channels";

const MANY = 4; // as many inputs it takes to say what is usual
const USUAL = 0.7; // and this share of them
const FAR = 10; // times larger or smaller than the middle one

const EMPTY = new Set(["None", "''", '""', "b''", "[]", "{}", "()", "set()", "<NA>", "NaT"]);
const NOT_A_NUMBER = /^(np\.float\d+\()?-?(nan|inf)\)?$/i;
const ZERO = /^-?0(\.0*)?$/;

function byValue(input: Json): string | undefined {
  const value: string = input.repr ?? "";
  if (EMPTY.has(value)) {
    return value === "None" ? "is None" : "is empty";
  }
  if (NOT_A_NUMBER.test(value)) {
    return `is ${/inf/i.test(value) ? "infinite" : "not a number"}`;
  }
  if (/[(,]\s*0\s*[,)]/.test(input.shape ?? "")) {
    return `is empty: its shape is ${input.shape}`;
  }
  return ZERO.test(value) ? "is zero" : undefined;
}

// What most of them have; undefined where there are few, or no such value.
function usual(inputs: readonly Json[], of: (input: Json) => string | null | undefined): { value: string; share: string } | undefined {
  const counts = new Map<string, number>();
  for (const input of inputs) {
    const value = of(input);
    if (value) {
      counts.set(value, (counts.get(value) ?? 0) + 1);
    }
  }
  const [value, most] = [...counts].reduce((best, one) => (one[1] > best[1] ? one : best), ["", 0]);
  return inputs.length >= MANY && most >= USUAL * inputs.length ? { value, share: `${most} of ${inputs.length}` } : undefined;
}

const dimensions = (input: Json): string | undefined => (input.shape ? `${String(input.shape).split(",").filter((part) => /\d/.test(part)).length}` : undefined);

function bySize(input: Json, middle: number): string | undefined {
  if (typeof input.nbytes !== "number" || middle < 1024) {
    return undefined;
  }
  const times = input.nbytes / middle;
  return times >= FAR || times <= 1 / FAR ? `has ${bytes(input.nbytes)}; the middle one of them has ${bytes(middle)}` : undefined;
}

// By key; of an input that is like the others, nothing.
export function oddities(inputs: readonly Json[]): Map<string, string> {
  const type = usual(inputs, (input) => input.type);
  const dtype = usual(inputs, (input) => input.dtype);
  const dims = usual(inputs, dimensions);
  const sizes = inputs.map((input) => input.nbytes).filter((size) => typeof size === "number").sort((one, other) => one - other);
  const middle = sizes.length >= MANY ? sizes[sizes.length >> 1] : 0;
  const found = new Map<string, string>();
  for (const input of inputs) {
    const says = byValue(input)
      ?? (type && input.type && input.type !== type.value ? `is a ${input.type}; ${type.share} are ${type.value}` : undefined)
      ?? (dtype && input.dtype && input.dtype !== dtype.value ? `has the dtype ${input.dtype}; ${dtype.share} have ${dtype.value}` : undefined)
      ?? (dims && input.shape && dimensions(input) !== dims.value ? `has the shape ${input.shape}; ${dims.share} have ${dims.value} dimensions` : undefined)
      ?? bySize(input, middle);
    if (says !== undefined) {
      found.set(input.key, says);
    }
  }
  return found;
}
