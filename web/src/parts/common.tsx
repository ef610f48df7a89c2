// Small things that all pages are made of.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { STATES, css, prefixColor, type State } from "../base/palette";
import { count, plural, shortKey } from "../base/format";
import { hrefOf, taskHref, workerHref } from "../base/route";

// A link to one of our own pages.
export function Go(props: JSX.IntrinsicElements["a"] & { href: string }) {
  return <a data-page="" {...props} href={hrefOf(props.href)} />;
}

export function TaskLink({ name }: { name: string }) {
  return <Go class="key" href={taskHref(name)} title={name}>{shortKey(name)}</Go>;
}

export function WorkerLink({ address, name }: { address: string; name?: string }) {
  return <Go href={workerHref(address)} title={address}>{name || address}</Go>;
}

export function Panel(props: { title?: ComponentChildren; side?: ComponentChildren; class?: string; children: ComponentChildren }) {
  return (
    <section class={`panel ${props.class ?? ""}`}>
      {props.title !== undefined && (
        <header>
          <h2>{props.title}</h2>
          <div class="side">{props.side}</div>
        </header>
      )}
      {props.children}
    </section>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

export function Problem({ error }: { error: Error | undefined }) {
  return error === undefined ? null : <p class="problem" role="status">✕ {error.message}</p>;
}

export function Stat(props: { name: string; value: ComponentChildren; note?: ComponentChildren; alarm?: boolean; title?: string }) {
  return (
    <div class={props.alarm ? "stat alarm" : "stat"} title={props.title}>
      <dt>{props.name}</dt>
      <dd>{props.value}</dd>
      {props.note !== undefined && <dd class="note">{props.note}</dd>}
    </div>
  );
}

export function Swatch({ prefix }: { prefix: string }) {
  return <span class="swatch" style={{ background: css(prefixColor(prefix)) }} aria-hidden="true" />;
}

export type Counts = Record<State["id"], number>;

// Tasks by state as one bar; the numbers are its text.
export function StateBar({ counts, total, wide }: { counts: Counts; total?: number; wide?: boolean }) {
  const sum = Math.max(total ?? 0, STATES.reduce((all, state) => all + counts[state.id], 0));
  const parts = STATES.filter((state) => counts[state.id] > 0);
  const says = parts.map((state) => `${count(counts[state.id])} ${state.name}`).join(", ") || "no tasks";
  return (
    <div class={wide ? "bar wide" : "bar"} role="img" aria-label={says} title={says}>
      {sum > 0 && parts.map((state) => <span key={state.id} class={`s-${state.id}`} style={{ width: `${(counts[state.id] / sum) * 100}%` }} />)}
    </div>
  );
}

export function StateLegend({ counts }: { counts: Counts }) {
  return (
    <ul class="legend">
      {STATES.map((state) => (
        <li key={state.id} class={counts[state.id] === 0 ? "none" : ""} title={state.says}>
          <span class={`sign s-${state.id}`} aria-hidden="true">{state.sign}</span> <b>{count(counts[state.id])}</b> {state.name}
        </li>
      ))}
    </ul>
  );
}

// Copies its text; says so for a moment, also to a screen reader.
export function Copy({ text, children }: { text: string; children?: ComponentChildren }) {
  const [state, setState] = useState("copy");
  const copy = () => {
    const done = (word: string) => {
      setState(word);
      window.setTimeout(() => setState("copy"), 1500);
    };
    // Without TLS there is no clipboard: then the text is at least selected.
    if (navigator.clipboard === undefined) {
      done("select it");
      return;
    }
    navigator.clipboard.writeText(text).then(() => done("copied"), () => done("refused"));
  };
  return (
    <div class="copy">
      <code tabIndex={0}>{children ?? text}</code>
      <button type="button" onClick={copy} aria-label={`copy ${text}`}><span aria-live="polite">{state}</span></button>
    </div>
  );
}

// A share of a whole as a thin bar below its number.
export function Meter({ share, children, alarm }: { share: number; children: ComponentChildren; alarm?: boolean }) {
  const width = Number.isFinite(share) ? Math.min(Math.max(share, 0), 1) * 100 : 0;
  return (
    <span class={alarm ? "meter alarm" : "meter"}>
      <span class="fill" style={{ width: `${width}%` }} aria-hidden="true" />
      <span class="text">{children}</span>
    </span>
  );
}

// A line without axes, of the values that are known.
export function Spark({ values, width = 120, height = 24, top }: { values: readonly number[]; width?: number; height?: number; top?: number }) {
  const most = top ?? Math.max(...values.filter(Number.isFinite), 0);
  const y = (value: number) => height - 1 - (most > 0 ? Math.min(value / most, 1) : 0) * (height - 2);
  const step = width / Math.max(values.length - 1, 1);
  let line = "";
  values.forEach((value, index) => {
    if (Number.isFinite(value)) {
      line += `${line === "" || !Number.isFinite(values[index - 1]) ? "M" : "L"}${(index * step).toFixed(1)} ${y(value).toFixed(1)}`;
    }
  });
  return (
    <svg class="spark" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
      {line !== "" && <path d={line} />}
    </svg>
  );
}

export function Choice<T extends string>(props: { label: string; value: T; options: readonly (readonly [T, string])[]; onChange(value: T): void }) {
  return (
    <label class="choice">
      {props.label}
      <select value={props.value} onChange={(event) => props.onChange(event.currentTarget.value as T)}>
        {props.options.map(([value, text]) => <option key={value} value={value}>{text}</option>)}
      </select>
    </label>
  );
}

// The size of an element, as it is now.
export function useSize<T extends HTMLElement>() {
  const element = useRef<T>(null);
  const seen = useRef<{ one: T; observer: ResizeObserver } | undefined>(undefined);
  const [size, setSize] = useState({ width: 0, height: 0 });
  // It may come later than what asks for it, or be another one.
  useEffect(() => {
    const one = element.current;
    if (one !== (seen.current?.one ?? null)) {
      seen.current?.observer.disconnect();
      seen.current = one === null ? undefined : { one, observer: new ResizeObserver(() => setSize({ width: one.clientWidth, height: one.clientHeight })) };
      seen.current?.observer.observe(seen.current.one);
    }
  });
  useEffect(() => () => seen.current?.observer.disconnect(), []);
  return { element, ...size };
}

export const tasks = (value: number): string => plural(value, "task");
