// Which address shows which page: our own, and every one of stock's, which shows the page that answers it.
import type { FunctionComponent } from "preact";
import { named } from "./base/route";
import { Activities } from "./pages/activities";
import { Failure } from "./pages/failure";
import { Groups } from "./pages/groups";
import { History } from "./pages/history";
import { Logs } from "./pages/logs";
import { Memory } from "./pages/memory";
import { Overview } from "./pages/overview";
import { PANELS } from "./pages/panels";
import { Problems } from "./pages/problems";
import { Profile } from "./pages/profile";
import { Scheduler } from "./pages/scheduler";
import { Stacks } from "./pages/stacks";
import { Stream } from "./pages/stream";
import { Task } from "./pages/task";
import { Transfers } from "./pages/transfers";
import { Why } from "./pages/why";
import { Worker } from "./pages/worker";
import { Workers } from "./pages/workers";

export interface PageProps {
  name?: string; // of the key or worker in the address
}

export interface Page {
  id: string;
  title: string;
  show: FunctionComponent<PageProps>;
  key?: string; // after g
  also?: readonly string[]; // stock's addresses
  whole?: boolean; // fills the window instead of scrolling
  ranged?: boolean; // keeps to the range of time that was chosen
  asks?: "scheduler" | "folder"; // what a report has not
}

export const PAGES: readonly Page[] = [
  { id: "problems", title: "What went wrong", show: Problems, key: "p", ranged: true, also: ["exceptions", "info/main/exceptions.html"] },
  { id: "status", title: "Overview", show: Overview, key: "o", also: ["", "system"] },
  { id: "tasks", title: "Task stream", show: Stream, key: "t", ranged: true, whole: true },
  { id: "groups", title: "Groups and graph", show: Groups, key: "g", ranged: true, also: ["graph"], whole: true },
  { id: "memory", title: "Memory", show: Memory, key: "m" },
  { id: "workers", title: "Workers", show: Workers, key: "w", also: ["gpu", "hardware", "info", "info/main/workers.html"], whole: true },
  { id: "profile", title: "Profile", show: Profile, key: "f", ranged: true, also: ["profile-server"], whole: true, asks: "scheduler" },
  { id: "activities", title: "Time by activity", show: Activities, key: "a" },
  { id: "transfers", title: "Transfers", show: Transfers, key: "x", also: ["shuffle"] },
  { id: "scheduler", title: "Scheduler", show: Scheduler, key: "s", also: ["counters", "stealing"] },
  { id: "logs", title: "Logs and events", show: Logs, key: "l", ranged: true, also: ["events", "info/main/logs.html"], whole: true },
  { id: "stacks", title: "Call stacks", show: Stacks, key: "c", asks: "scheduler" },
  { id: "why", title: "Why", show: Why, key: "y", asks: "scheduler" },
  { id: "history", title: "History", show: History, key: "h", asks: "folder" },
];

// Pages about one thing, which no rail lists.
const ABOUT: readonly { before: string; title: string; show: FunctionComponent<PageProps>; rail: string; headed?: boolean }[] = [
  { before: "info/task/", title: "Task", show: Task, rail: "tasks", headed: true },
  { before: "info/worker/", title: "Worker", show: Worker, rail: "workers", headed: true },
  { before: "info/logs/", title: "Logs", show: Logs, rail: "logs" },
  { before: "info/call-stacks/", title: "Call stacks", show: Stacks, rail: "stacks" },
  { before: "info/call-stack/", title: "Call stack", show: Stacks, rail: "stacks" },
  { before: "why/", title: "Why", show: Why, rail: "why", headed: true },
  { before: "failure/", title: "Failure", show: Failure, rail: "problems", headed: true },
];

export interface Found {
  title: string;
  show: FunctionComponent<PageProps>;
  name?: string;
  headed?: boolean; // has a heading of its own
  rail?: string;
  whole?: boolean;
  ranged?: boolean;
  bare?: boolean; // a panel to embed: nothing around it
}

export function pageAt(path: string): Found | undefined {
  const page = PAGES.find((one) => one.id === path || one.also?.includes(path));
  if (page !== undefined) {
    return { title: page.title, show: page.show, rail: page.id, whole: page.whole, ranged: page.ranged };
  }
  if (path.startsWith("individual-")) {
    const panel = PANELS[path.slice("individual-".length)];
    return panel && { title: panel.title, show: panel.show, bare: true, whole: true };
  }
  for (const about of ABOUT) {
    const name = named(path, about.before);
    if (name) {
      return { title: `${about.title} ${name}`, show: about.show, name, rail: about.rail, headed: about.headed };
    }
  }
  return undefined;
}
