// Colours. Ten that people with any kind of colour vision tell apart, given to prefixes
// in the order in which they were busy and kept for the cluster's life; all others are grey. A state has a colour, and
// a sign, as colour alone must never say it.
import { computed, signal } from "@preact/signals";
import { GREY, TEN, type Rgb } from "./colors";

export { ALARM, GREY, type Rgb } from "./colors";

const preference = window.matchMedia("(prefers-color-scheme: dark)");
const preferred = signal(preference.matches);
preference.addEventListener("change", () => (preferred.value = preference.matches));

// What was chosen by hand; undefined: as the system has it.
export const chosen = signal<"light" | "dark" | undefined>(stored());
export const dark = computed(() => (chosen.value === undefined ? preferred.value : chosen.value === "dark"));

function stored(): "light" | "dark" | undefined {
  const value = remembered("theme");
  return value === "light" || value === "dark" ? value : undefined;
}

// Storage may be refused (a sandboxed frame): then nothing is remembered, and nothing else is lost.
export function remembered(name: string): string | null {
  try {
    return window.localStorage.getItem(`cask-${name}`);
  } catch {
    return null;
  }
}

export function remember(name: string, value: string): void {
  try {
    window.localStorage.setItem(`cask-${name}`, value);
  } catch {
    // as said above
  }
}

export function toggleTheme(): void {
  chosen.value = dark.value ? "light" : "dark";
  remember("theme", chosen.value);
}

export const css = (rgb: Rgb): string => `rgb(${rgb[0]} ${rgb[1]} ${rgb[2]})`;
// As a pixel of an ImageData on a little-endian machine, which all that run browsers are.
export const pixel = (rgb: Rgb): number => (0xff000000 | (rgb[2] << 16) | (rgb[1] << 8) | rgb[0]) >>> 0;

function luminance(rgb: Rgb): number {
  const [red, green, blue] = rgb.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// Black or white, whichever is read more easily on it.
export const textOn = (rgb: Rgb): string => (luminance(rgb) > 0.179 ? "#000" : "#fff");

// Who has which of the ten. It outlives the page, or the same prefix would be blue here and orange there.
const COLORS = "colors";
const assigned: (string | null)[] = restored();

function restored(): (string | null)[] {
  const names: unknown = JSON.parse(remembered(COLORS) ?? "[]");
  const list = Array.isArray(names) ? names : [];
  return TEN.map((_, index) => (typeof list[index] === "string" ? (list[index] as string) : null));
}

export function prefixColor(prefix: string): Rgb {
  const place = assigned.indexOf(prefix);
  return place < 0 ? GREY : TEN[place];
}

// The busiest choose first. What has a colour keeps it, until all are taken and its prefix is no more.
export function assignColors(byActivity: readonly string[]): void {
  let changed = false;
  for (const prefix of byActivity.slice(0, TEN.length)) {
    if (!assigned.includes(prefix)) {
      const free = assigned.indexOf(null);
      const place = free >= 0 ? free : assigned.findIndex((name) => name !== null && !byActivity.includes(name));
      if (place >= 0) {
        assigned[place] = prefix;
        changed = true;
      }
    }
  }
  if (changed) {
    remember(COLORS, JSON.stringify(assigned));
  }
}

export const nthColor = (n: number): Rgb => TEN[n % TEN.length];

// Between dark blue and yellow (cividis), `share` from 0 to 1: one that grows evenly for every eye.
const CIVIDIS: Rgb[] = [
  [0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115], [138, 134, 120], [165, 156, 116],
  [195, 179, 105], [225, 204, 85], [254, 232, 56],
];

export function sequential(share: number): Rgb {
  const place = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1);
  const low = Math.min(Math.floor(place), CIVIDIS.length - 2);
  const part = place - low;
  const mix = (index: number) => Math.round(CIVIDIS[low][index] * (1 - part) + CIVIDIS[low + 1][index] * part);
  return [mix(0), mix(1), mix(2)];
}

export interface State {
  id: "erred" | "noWorker" | "processing" | "queued" | "waiting" | "memory" | "released";
  name: string;
  sign: string;
  says: string;
}

// In the order in which bars are stacked: what is done, what runs, what is to come, what went wrong.
export const STATES: readonly State[] = [
  { id: "memory", name: "in memory", sign: "●", says: "computed, the result is held" },
  { id: "released", name: "released", sign: "○", says: "computed or not wanted, nothing is held" },
  { id: "processing", name: "processing", sign: "▶", says: "sent to a worker" },
  { id: "queued", name: "queued", sign: "▤", says: "ready, held back until a thread is free" },
  { id: "waiting", name: "waiting", sign: "◌", says: "an input is missing" },
  { id: "noWorker", name: "no worker", sign: "⚠", says: "no worker may run it" },
  { id: "erred", name: "erred", sign: "✕", says: "failed, or an input did" },
];
