// The keyboard: one table of what keys do on the page that is shown. Two keys after one another are written "g p"; the
// first one waits for the second as long as it takes, and the page says so: no hand, and no machine, is too slow.
import { signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";

export interface Binding {
  keys: string;
  says: string;
  run(): void;
}

const bindings = new Map<string, Binding[]>(); // by keys; the newest rules
export const begun = signal(""); // the first of two keys

// A page listens from the moment that it is there: what is bound stays bound while it is drawn again, and does what the
// newest drawing says.
export function useKeys(table: Binding[]): void {
  const latest = useRef(table);
  latest.current = table;
  useLayoutEffect(() => {
    const mine = table.map(({ keys, says }): Binding => ({ keys, says, run: () => latest.current.find((one) => one.keys === keys)?.run() }));
    mine.forEach((binding) => bindings.set(binding.keys, [...(bindings.get(binding.keys) ?? []), binding]));
    return () =>
      mine.forEach((binding) => {
        const left = (bindings.get(binding.keys) ?? []).filter((other) => other !== binding);
        if (left.length === 0) {
          bindings.delete(binding.keys);
        } else {
          bindings.set(binding.keys, left);
        }
      });
  }, []);
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

function begins(key: string): boolean {
  return [...bindings.keys()].some((keys) => keys.startsWith(`${key} `));
}

function pressed(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Shift" || event.defaultPrevented || taken(event)) {
    return;
  }
  if (document.querySelector("dialog[open]") !== null) {
    return; // it has keys of its own
  }
  if (writes(event.target) && event.key !== "Escape") {
    return;
  }
  const first = begun.value;
  const key = event.key === " " ? "space" : event.key;
  begun.value = "";
  if (first !== "" && key === "Escape") {
    event.preventDefault();
    return;
  }
  const list = bindings.get(`${first} ${key}`) ?? bindings.get(key);
  if (list !== undefined) {
    event.preventDefault();
    list[list.length - 1].run();
  } else if (begins(key)) {
    begun.value = key;
  }
}

export function startKeys(): void {
  const forget = () => (begun.value = "");
  document.addEventListener("keydown", pressed);
  document.addEventListener("pointerdown", forget);
  window.addEventListener("blur", forget);
}
