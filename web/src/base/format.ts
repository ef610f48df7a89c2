// Numbers as people read them: exact where they are small, three digits where they are large, always with their unit;
// what is not known is a dash, never a zero.
export const UNKNOWN = "–";
const THIN = "\u202f";

function known(value: number | null | undefined): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function digits(value: number): string {
  const size = Math.abs(value);
  return size >= 100 || value === 0 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

export function bytes(value: number | null | undefined): string {
  if (!known(value) || value < 0) {
    return UNKNOWN;
  }
  let size = value;
  let unit = 0;
  while (size >= 999.5 && unit < BINARY.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit === 0 ? size.toFixed(0) : digits(size)}${THIN}${BINARY[unit]}`;
}

export function bytesRate(value: number | null | undefined): string {
  return known(value) && value >= 0 ? `${bytes(value)}/s` : UNKNOWN;
}

export function count(value: number | null | undefined): string {
  return known(value) ? Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, ",") : UNKNOWN;
}

// Where there is little room: "999", "10k", "3M".
export function briefly(value: number): string {
  return value < 1000 ? count(value) : value < 999_500 ? `${Math.round(value / 1000)}k` : `${Math.round(value / 1e6)}M`;
}

export function rate(value: number | null | undefined): string {
  if (!known(value)) {
    return UNKNOWN;
  }
  return `${value >= 1000 ? count(value) : digits(value)}${THIN}/s`;
}

export function percent(share: number | null | undefined): string {
  if (!known(share)) {
    return UNKNOWN;
  }
  const value = share * 100;
  return `${value !== 0 && Math.abs(value) < 10 ? value.toFixed(1) : value.toFixed(0)}${THIN}%`;
}

const two = (value: number): string => String(value).padStart(2, "0");

export function duration(seconds: number | null | undefined): string {
  if (!known(seconds)) {
    return UNKNOWN;
  }
  const size = Math.abs(seconds);
  if (size >= 99.95) {
    const whole = Math.round(size);
    const sign = seconds < 0 ? "−" : "";
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    return hours > 0 ? `${sign}${hours}${THIN}h${THIN}${two(minutes)}` : `${sign}${minutes}${THIN}min${THIN}${two(whole % 60)}`;
  }
  if (size === 0) {
    return `0${THIN}s`;
  }
  const [scale, unit] = size >= 0.9995 ? [1, "s"] : size >= 0.0009995 ? [1e3, "ms"] : [1e6, "µs"];
  return `${digits(seconds * scale)}${THIN}${unit}`;
}

// Of the day, as the one who looks has it; `fine` with milliseconds.
export function clock(time: number | null | undefined, fine = false): string {
  if (!known(time) || time <= 0) {
    return UNKNOWN;
  }
  const date = new Date(time * 1000);
  const text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return fine ? `${text}.${String(date.getMilliseconds()).padStart(3, "0")}` : text;
}

export function ago(time: number | null | undefined, now: number): string {
  if (!known(time) || time <= 0 || now <= 0) {
    return UNKNOWN;
  }
  const past = Math.max(0, now - time);
  return past < 1 ? "now" : `${duration(Math.floor(past))} ago`;
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

// A key's tokens (32 hexadecimal digits, UUIDs) say nothing to a reader but that they differ.
export function shortKey(key: string): string {
  return key.replace(/([0-9a-f]{6})[0-9a-f]{2}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}/g, "$1…");
}

// Names that end in numbers in the order of the numbers.
export const byName = new Intl.Collator("en", { numeric: true }).compare;
