// GET api/cask/v1/…: one question, and one that is asked again as long as somebody looks.
import { useEffect, useRef, useState } from "preact/hooks";
import { apiUrl } from "./base";
import type { Json } from "./channels";
import { answerOf, report } from "./offline";

export type Parameters = Record<string, string | number | undefined>;

export class ApiError extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

// `root`: of another run's pages.
export async function get(path: string, parameters: Parameters = {}, signal?: AbortSignal, root?: URL): Promise<Json> {
  if (report() !== undefined) {
    const kept = answerOf(path, parameters);
    if (kept === undefined) {
      throw new ApiError(404, "This is not in the report: only the cluster itself could answer.");
    }
    return kept;
  }
  const url = apiUrl(path, root);
  for (const [name, value] of Object.entries(parameters)) {
    // Servers end an address at a line break.
    if (typeof value === "string" && /[\r\n]/.test(value)) {
      url.searchParams.set(`${name}_json`, JSON.stringify(value));
    } else if (value !== undefined) {
      url.searchParams.set(name, String(value));
    }
  }
  const answer = await fetch(url, { signal, credentials: "same-origin" });
  const text = await answer.text();
  let body: Json;
  try {
    body = JSON.parse(text);
  } catch {
    throw new ApiError(answer.status, answer.ok ? `${path}: not JSON` : answer.statusText);
  }
  if (!answer.ok) {
    throw new ApiError(answer.status, body.error ?? answer.statusText);
  }
  return body;
}

export interface Answer {
  data?: Json;
  error?: ApiError | Error;
  ask(): void;
}

// Ask now, when the parameters change, and (with `seconds`) again and again while the page is visible. The answer of
// before stays until there is a new one, so nothing flickers.
export function useAnswer(path: string | undefined, parameters: Parameters = {}, seconds?: number): Answer {
  const [state, setState] = useState<{ data?: Json; error?: Error }>({});
  const asked = JSON.stringify([path, parameters]);
  const again = useRef(() => {});
  useEffect(() => {
    if (path === undefined) {
      setState({});
      return undefined;
    }
    const stop = new AbortController();
    let timer = 0;
    const ask = () => {
      window.clearTimeout(timer);
      get(path, parameters, stop.signal)
        .then((data) => setState({ data }))
        .catch((error: Error) => {
          if (!stop.signal.aborted) {
            setState((before) => ({ data: before.data, error }));
          }
        })
        .finally(() => {
          if (seconds !== undefined && !stop.signal.aborted) {
            timer = window.setTimeout(() => (document.hidden ? undefined : ask()), seconds * 1000);
          }
        });
    };
    const visible = () => {
      if (!document.hidden && seconds !== undefined) {
        ask();
      }
    };
    again.current = ask;
    setState({});
    ask();
    document.addEventListener("visibilitychange", visible);
    return () => {
      stop.abort();
      window.clearTimeout(timer);
      document.removeEventListener("visibilitychange", visible);
    };
  }, [asked, seconds]);
  return { ...state, ask: () => again.current() };
}
