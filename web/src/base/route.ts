// Where one is: a path below the base, and parameters, all of it in the address, so that it can be sent to others.
import { computed, signal } from "@preact/signals";
import { base } from "../wire/base";
import { report } from "../wire/offline";

export interface Place {
  path: string; // percent-encoded, without the base
  query: URLSearchParams;
}

// In a report, which is one file, the place is what follows the file's "#".
function hereInFile(): Place {
  const [path, query] = window.location.hash.slice(1).split("?");
  return { path, query: new URLSearchParams(query) };
}

function here(): Place {
  if (report() !== undefined) {
    return hereInFile();
  }
  const root = base().pathname;
  const path = window.location.pathname;
  return {
    path: path.startsWith(root) ? path.slice(root.length) : "",
    query: new URLSearchParams(window.location.search),
  };
}

const current = signal<Place>({ path: "", query: new URLSearchParams() });
export const place = computed(() => current.value);

export function startRouting(): void {
  current.value = here();
  window.addEventListener("popstate", () => (current.value = here()));
  document.addEventListener("click", follow);
}

// A range of time that was chosen goes along from page to page.
export interface Range {
  since: number;
  until: number;
}

export const range = computed<Range | undefined>(() => {
  const since = Number(current.value.query.get("from"));
  const until = Number(current.value.query.get("to"));
  return since > 0 && until > since ? { since, until } : undefined;
});

export function setRange(one: Range | undefined): void {
  setQuery({ from: one?.since.toFixed(6), to: one?.until.toFixed(6) });
}

function withRange(href: string): string {
  const chosen = range.value;
  return chosen === undefined ? href : `${href}${href.includes("?") ? "&" : "?"}from=${chosen.since.toFixed(6)}&to=${chosen.until.toFixed(6)}`;
}

export const hrefOf = (href: string): string => (report() === undefined ? withRange(href) : `#${withRange(href)}`);

// Links to our own pages do not load a page anew.
function follow(event: MouseEvent): void {
  const anchor = (event.target as Element | null)?.closest?.("a[href]");
  if (report() !== undefined) {
    return; // going to another "#" loads nothing
  }
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!plain || event.defaultPrevented || !(anchor instanceof HTMLAnchorElement) || anchor.target || anchor.hasAttribute("download")) {
    return;
  }
  const url = new URL(anchor.href);
  const ours = url.origin === base().origin && url.pathname.startsWith(base().pathname);
  if (ours && anchor.dataset.page !== undefined) {
    event.preventDefault();
    show(anchor.getAttribute("href") ?? "");
  }
}

// `href` is relative to the base, as all are in these pages.
export function go(href: string): void {
  show(withRange(href));
}

function show(href: string): void {
  window.history.pushState(null, "", report() === undefined ? new URL(href, base()) : `#${href}`);
  current.value = here();
  window.scrollTo(0, 0);
  document.querySelector("main")?.scrollTo(0, 0);
}

// Change parameters of this page in place; undefined takes one away.
export function setQuery(changes: Record<string, string | undefined>): void {
  const query = new URLSearchParams(current.value.query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) {
      query.delete(name);
    } else {
      query.set(name, value);
    }
  }
  const text = query.toString();
  const url = new URL(window.location.href);
  if (report() === undefined) {
    url.search = text;
  } else {
    url.hash = `${current.value.path}${text === "" ? "" : `?${text}`}`;
  }
  window.history.replaceState(null, "", url);
  current.value = { path: current.value.path, query };
}

export const taskHref = (key: string): string => `info/task/${encodeURIComponent(key)}.html`;
export const workerHref = (address: string): string => `info/worker/${encodeURIComponent(address)}.html`;
export const whyHref = (key: string): string => `why/${encodeURIComponent(key)}`;

// What follows `before` in the path, decoded, without `.html`; undefined where the path is another or cannot be decoded.
export function named(path: string, before: string): string | undefined {
  if (!path.startsWith(before)) {
    return undefined;
  }
  try {
    return decodeURIComponent(path.slice(before.length).replace(/\.html$/, ""));
  } catch {
    return undefined;
  }
}
