// Search: keys, workers, prefixes and groups, from wherever one is.
import { useState } from "preact/hooks";
import { go, taskHref, workerHref } from "../base/route";
import { groups, useGroups, useWorkers, workers } from "../data/tables";

interface Hit {
  kind: string;
  text: string;
  href: string;
}

const MOST = 8;

function hits(text: string): Hit[] {
  const wanted = text.toLowerCase();
  const has = (value: string) => value.toLowerCase().includes(wanted);
  const found: Hit[] = [];
  for (const worker of workers.list()) {
    if (has(worker.name) || has(worker.address)) {
      found.push({ kind: "worker", text: worker.name || worker.address, href: workerHref(worker.address) });
    }
  }
  const prefixes = new Set(groups.list().map((group) => group.prefix));
  for (const prefix of prefixes) {
    if (has(prefix)) {
      found.push({ kind: "prefix", text: prefix, href: `tasks?prefix=${encodeURIComponent(prefix)}` });
    }
  }
  // Whatever is no name may be a key: only the scheduler knows them all.
  return [...found.slice(0, MOST - 1), { kind: "task", text, href: taskHref(text) }];
}

function Results({ text, chosen, pick }: { text: string; chosen: number; pick(hit: Hit): void }) {
  useWorkers();
  useGroups();
  return (
    <ul id="search-results" role="listbox" aria-label="Search results">
      {hits(text).map((hit, index) => (
        <li key={hit.href} id={`search-${index}`} role="option" aria-selected={index === chosen} onMouseDown={() => pick(hit)}>
          <i>{hit.kind}</i> {hit.text}
        </li>
      ))}
    </ul>
  );
}

export function Search() {
  const [text, setText] = useState("");
  const [chosen, setChosen] = useState(0);
  const [open, setOpen] = useState(false);
  const shown = open && text.trim() !== "";
  const pick = (hit: Hit | undefined) => {
    if (hit !== undefined) {
      setText("");
      (document.activeElement as HTMLElement | null)?.blur();
      go(hit.href);
    }
  };
  const key = (event: KeyboardEvent) => {
    const list = shown ? hits(text.trim()) : [];
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      setChosen((chosen + (event.key === "ArrowDown" ? 1 : list.length - 1)) % Math.max(list.length, 1));
    } else if (event.key === "Enter") {
      pick(list[chosen]);
    } else if (event.key === "Escape") {
      event.preventDefault();
      setText("");
      (event.currentTarget as HTMLElement).blur();
    }
  };
  return (
    <div class="search">
      <input type="text" class="find" placeholder="key, worker, prefix  ( / )" aria-label="Search keys, workers, prefixes" role="combobox"
        aria-expanded={shown} aria-controls="search-results" aria-activedescendant={shown ? `search-${chosen}` : undefined} value={text}
        onInput={(event) => { setText(event.currentTarget.value); setChosen(0); }} onKeyDown={key}
        onFocus={() => setOpen(true)} onBlur={() => setOpen(false)} autoComplete="off" spellcheck={false} />
      {shown && <Results text={text.trim()} chosen={chosen} pick={pick} />}
    </div>
  );
}
