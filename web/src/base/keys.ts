// The keyboard: one table of what keys do on the page that is shown. Two keys after one another are written "g p".
import { useEffect } from "preact/hooks";

export interface Binding {
  keys: string;
  says: string;
  run(): void;
}

const bindings = new Map<string, Binding[]>(); // by keys; the newest rules
let before = "";
let beforeAt = 0;
const CHORD_MS = 1500;

export function useKeys(table: Binding[]): void {
  useEffect(() => {
    table.forEach((binding) => bindings.set(binding.keys, [...(bindings.get(binding.keys) ?? []), binding]));
    return () =>
      table.forEach((binding) => {
        const left = (bindings.get(binding.keys) ?? []).filter((other) => other !== binding);
        if (left.length === 0) {
          bindings.delete(binding.keys);
        } else {
          bindings.set(binding.keys, left);
        }
      });
  });
}

export function allBindings(): Binding[] {
  return [...bindings.values()].map((list) => list[list.length - 1]);
}

function writes(target: EventTarget | null): boolean {
  return target instanceof HTMLInputElement || target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement;
}

// Keys that a focused button or link has a use for itself are left to it.
function taken(event: KeyboardEvent): boolean {
  const element = event.target as Element | null;
  const presses = event.key === " " || event.key === "Enter";
  return presses && element !== null && element.matches("button, a[href], summary, [role=button]");
}

export function startKeys(): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || taken(event)) {
      return;
    }
    if (document.querySelector("dialog[open]") !== null) {
      return; // it has keys of its own
    }
    if (writes(event.target) && event.key !== "Escape") {
      return;
    }
    const key = event.key === " " ? "space" : event.key;
    const chord = event.timeStamp - beforeAt < CHORD_MS ? `${before} ${key}` : "";
    const list = bindings.get(chord) ?? bindings.get(key);
    before = key;
    beforeAt = event.timeStamp;
    if (list !== undefined) {
      event.preventDefault();
      before = "";
      list[list.length - 1].run();
    }
  });
}
