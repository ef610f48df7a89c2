// What is around a page: the rail, the state of the cluster, search, and help.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { allBindings, begun, useKeys } from "./base/keys";
import { briefly, bytes, clock, count, duration, rate, UNKNOWN } from "./base/format";
import { dark, toggleTheme } from "./base/palette";
import { go, place, range, setRange } from "./base/route";
import { now, summary, useSummary } from "./data/tables";
import { startHistory } from "./data/history";
import { PAGES, pageAt } from "./pages";
import { Go } from "./parts/common";
import { Search } from "./parts/search";
import { keptName, outer } from "./wire/base";
import { link } from "./wire/live";
import { report } from "./wire/offline";

// What only a cluster can answer is no page of a report, and none of a run that is kept.
const shownPages = () => PAGES.filter((page) => page.asks === undefined || (report() === undefined && (page.asks === "folder" || keptName() === undefined)));

function Rail({ current }: { current?: string }) {
  const failed = summary.value?.failures ?? 0;
  return (
    <nav class="rail" aria-label="Pages">
      <Go href="status" class="brand">cask</Go>
      <ul>
        {shownPages().map((page) => (
          <li key={page.id}>
            <Go href={page.id} aria-current={page.id === current ? "page" : undefined} title={`g ${page.key}`}>
              {page.title}
              {page.id === "problems" && failed > 0 && <b class="badge" title={count(failed)}>{briefly(failed)}</b>}
            </Go>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function State() {
  const row = summary.value;
  if (row === undefined) {
    return <span class="pill">{link.value === "lost" ? "✕ no connection" : "…"}</span>;
  }
  const kept = report();
  if (kept !== undefined) {
    return <span class="pill">▤ report of {new Date(kept.made * 1000).toLocaleString()}{row.state === 2 ? ", after the scheduler died" : ""}</span>;
  }
  if (keptName() !== undefined) {
    return (
      <span class="pill" title={row.reason}>
        ▤ kept until {new Date(now.value * 1000).toLocaleString()}{row.state === 2 ? ", when the scheduler died" : ""} · <a href={new URL("history", outer()).href}>all runs</a>
      </span>
    );
  }
  if (row.state !== 0) {
    return <span class="pill bad" role="status">✕ scheduler {row.state === 1 ? "ended" : "died"}{row.reason ? `: ${row.reason}` : ""}</span>;
  }
  if (link.value === "lost") {
    return <span class="pill bad" role="status">✕ connection lost, data of {clock(now.value)}</span>;
  }
  if (row.workers === 0) {
    return <span class="pill warn">⚠ no workers</span>;
  }
  return <span class="pill good">● {link.value === "polling" ? "live, once a second" : "live"}</span>;
}

// The range that was chosen in the task stream, and whether this page keeps to it.
function Chosen({ ranged }: { ranged: boolean }) {
  const one = range.value;
  if (one === undefined) {
    return null;
  }
  const says = `${clock(one.since)} to ${clock(one.until)} (${duration(one.until - one.since)})`;
  return (
    <button type="button" class={ranged ? "range" : "range off"} onClick={() => setRange(undefined)}
      title={ranged ? "this page shows only what was then; click to show all again" : "this page shows all time"}>
      {ranged ? "only" : "not here:"} {says} ✕
    </button>
  );
}

function Header({ help, ranged }: { help(): void; ranged: boolean }) {
  const row = summary.value;
  return (
    <header class="top">
      <State />
      <Chosen ranged={ranged} />
      <dl class="facts" aria-label="Cluster">
        <div><dt>workers</dt><dd>{count(row?.workers)}</dd></div>
        <div><dt>threads</dt><dd>{count(row?.threads)}</dd></div>
        <div><dt>processing</dt><dd>{count(row?.processing)}</dd></div>
        <div><dt>rate</dt><dd>{rate(row?.runRate)}</dd></div>
        <div><dt>memory</dt><dd>{row === undefined ? UNKNOWN : `${bytes(row.process)} of ${bytes(row.limit)}`}</dd></div>
      </dl>
      <Search />
      <button type="button" class="plain" onClick={toggleTheme} aria-label={dark.value ? "light colours" : "dark colours"} title="light or dark">◐</button>
      <button type="button" class="plain" onClick={help} aria-label="keyboard help" title="keys (?)">?</button>
    </header>
  );
}

function Help({ close }: { close(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} onClose={close} aria-label="Keys">
      <h2>Keys</h2>
      <dl class="keys">
        {allBindings().map((binding) => <div key={binding.keys}><dt><kbd>{binding.keys}</kbd></dt><dd>{binding.says}</dd></div>)}
      </dl>
      <form method="dialog"><button>close</button></form>
    </dialog>
  );
}

// Says new failures to those who do not see the badge.
function Announcer() {
  const failed = summary.value?.failures;
  const before = useRef<number | undefined>(undefined);
  const [text, setText] = useState("");
  useEffect(() => {
    if (failed !== undefined && before.current !== undefined && failed > before.current) {
      setText(`${count(failed - before.current)} new failures, ${count(failed)} in all`);
    }
    before.current = failed;
  }, [failed]);
  return <p class="unseen" aria-live="polite">{text}</p>;
}

// The first of two keys was pressed: which ones go on.
function Begun() {
  const first = begun.value;
  return (
    <p class={first === "" ? "unseen" : "begun"} role="status">
      {first !== "" && allBindings().filter((one) => one.keys.startsWith(`${first} `)).map((one) => (
        <span key={one.keys}><kbd>{one.keys}</kbd> {one.says}</span>
      ))}
    </p>
  );
}

function NoSuchPage() {
  return <p class="empty">There is no page at this address. <Go href="status">Overview</Go></p>;
}

export function App() {
  useSummary();
  useEffect(startHistory, []);
  const [help, setHelp] = useState(false);
  const found = pageAt(place.value.path);
  const Show = found?.show ?? NoSuchPage;
  useKeys([
    { keys: "?", says: "this list", run: () => setHelp(true) },
    { keys: "Escape", says: "back", run: () => window.history.back() },
    { keys: "/", says: "search", run: () => document.querySelector<HTMLInputElement>("input.find")?.focus() },
    ...shownPages().map((page) => ({ keys: `g ${page.key}`, says: page.title, run: () => go(page.id) })),
  ]);
  useEffect(() => {
    document.title = found === undefined ? "cask" : `${found.title} · cask`;
  }, [found?.title]);
  if (found?.bare) {
    return <main class="bare" aria-label={found.title}><Show name={found.name} /></main>;
  }
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")?.focus(); }}>to the page</a>
      <Rail current={found?.rail} />
      <Header help={() => setHelp(true)} ranged={found?.ranged ?? false} />
      <main id="main" tabIndex={-1} class={found?.whole ? "whole" : ""}>
        {found !== undefined && !found.headed && <h1>{found.title}</h1>}
        <Show key={place.value.path} name={found?.name} />
      </main>
      <Announcer />
      <Begun />
      {help && <Help close={() => setHelp(false)} />}
      <footer class="foot">{summary.value !== undefined && `data of ${clock(now.value, true)}`}</footer>
    </div>
  );
}
