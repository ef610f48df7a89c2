// One WebSocket a tab. Subscriptions that ask for the same are one; a connection that is lost is made again, ever more
// rarely, and its first frames replace everything; while the tab is hidden the other side is told to wait. Where
// WebSockets do not get through, the same rows are asked for as JSON, once a second.
import { signal } from "@preact/signals";
import { get } from "./api";
import { apiUrl } from "./base";
import { CHANNELS, channelNamed, rowsOf, type Row } from "./channels";
import { decodeFrame, Mode, type Frame } from "./frame";
import { report } from "./offline";

export type Link = "connecting" | "live" | "polling" | "lost" | "report";
export const link = signal<Link>("connecting");

export interface Batch {
  mode: Mode;
  time: number;
  lost: boolean; // rows were left out before these
  rows: Row[];
}
export type Listener = (batch: Batch) => void;

export interface Wish {
  hz?: number;
  p?: Record<string, unknown>;
}

interface Subscription {
  id: number;
  channel: number;
  wish: Wish;
  listener: Listener;
  users: number;
  sequence: number; // of the next frame
}

const RETRY_FIRST_MS = 500;
const RETRY_MOST_MS = 10_000;
const POLL_MS = 1000;
// So many connections that never opened mean that something on the way refuses WebSockets.
const REFUSALS = 2;

export class Live {
  private socket: WebSocket | undefined;
  private readonly subscriptions = new Map<number, Subscription>();
  private lastId = 0;
  private wait = RETRY_FIRST_MS;
  private refusals = 0;
  private pollTimer = 0;

  constructor(private readonly url: () => URL) {
    document.addEventListener("visibilitychange", () => {
      this.send({ pause: document.hidden });
      if (!document.hidden && link.value === "polling") {
        void this.poll();
      }
    });
  }

  // Whoever wants the same for the same listener shares a subscription.
  subscribe(name: string, wish: Wish, listener: Listener): () => void {
    const channel = channelNamed(name);
    const wanted = JSON.stringify(wish);
    let subscription = [...this.subscriptions.values()].find(
      (other) => other.channel === channel && other.listener === listener && JSON.stringify(other.wish) === wanted,
    );
    if (subscription === undefined) {
      subscription = { id: this.freeId(), channel, wish, listener, users: 0, sequence: 0 };
      this.subscriptions.set(subscription.id, subscription);
      this.connect();
      this.ask(subscription);
    }
    subscription.users++;
    const mine = subscription;
    return () => {
      if (--mine.users === 0) {
        this.subscriptions.delete(mine.id);
        this.send({ unsub: mine.id });
      }
    };
  }

  private freeId(): number {
    do {
      this.lastId = (this.lastId % 65535) + 1;
    } while (this.subscriptions.has(this.lastId));
    return this.lastId;
  }

  private send(message: unknown): void {
    if (this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify(message));
    }
  }

  private ask(subscription: Subscription): void {
    const { id, channel, wish } = subscription;
    subscription.sequence = 0;
    this.send({ sub: CHANNELS[channel].name, id, ...wish });
    if (link.value === "polling") {
      void this.pollOne(subscription);
    }
  }

  private connect(): void {
    if (this.socket !== undefined) {
      return;
    }
    const url = this.url();
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.wait = RETRY_FIRST_MS;
      this.refusals = 0;
      window.clearTimeout(this.pollTimer);
      link.value = "live";
      if (document.hidden) {
        this.send({ pause: true });
      }
      this.subscriptions.forEach((subscription) => this.ask(subscription));
    };
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = () => this.closed();
  }

  private closed(): void {
    const opened = link.value === "live";
    this.socket = undefined;
    this.refusals += opened ? 0 : 1;
    if (link.value !== "polling") {
      link.value = "lost";
      if (this.refusals >= REFUSALS) {
        void this.poll();
      }
    }
    // Jitter, or all tabs would come back in the same millisecond.
    window.setTimeout(() => this.connect(), this.wait * (0.5 + Math.random()));
    this.wait = Math.min(this.wait * 2, RETRY_MOST_MS);
  }

  private receive(data: unknown): void {
    if (!(data instanceof ArrayBuffer)) {
      console.warn("observer:", data); // it says there what it could not do
      return;
    }
    const frame = decodeFrame(data);
    const subscription = this.subscriptions.get(frame.id);
    if (subscription !== undefined && subscription.channel === frame.channel) {
      this.deliver(subscription, frame);
    }
  }

  private deliver(subscription: Subscription, frame: Frame): void {
    const lost = frame.sequence !== subscription.sequence;
    subscription.sequence = (frame.sequence + 1) >>> 0;
    const batch = { mode: frame.mode, time: frame.time, lost, rows: rowsOf(frame) };
    subscription.listener(batch);
  }

  private async poll(): Promise<void> {
    window.clearTimeout(this.pollTimer);
    const answers = await Promise.all([...this.subscriptions.values()].map((one) => this.pollOne(one)));
    if (link.value === "live" || document.hidden) {
      return;
    }
    link.value = answers.some((answered) => answered) || this.subscriptions.size === 0 ? "polling" : "lost";
    this.pollTimer = window.setTimeout(() => void this.poll(), POLL_MS);
  }

  private async pollOne(subscription: Subscription): Promise<boolean> {
    const channel = CHANNELS[subscription.channel];
    try {
      const json = await get(channel.path);
      const batch = { mode: Mode.Replace, time: json.at, lost: false, rows: channel.rows(json) };
      subscription.listener(batch);
      return true;
    } catch {
      return false; // the link's state says it, at the top of every page
    }
  }
}

interface Source {
  subscribe(name: string, wish: Wish, listener: Listener): () => void;
}

// A report has everything at once, and then nothing more.
class Kept implements Source {
  subscribe(name: string, _wish: Wish, listener: Listener): () => void {
    const channel = CHANNELS[channelNamed(name)];
    link.value = "report";
    get(new URL(channel.path, "x:/").pathname.slice(1), { limit: 1000 }).then(
      (json) => listener({ mode: Mode.Replace, time: report()?.until ?? 0, lost: false, rows: channel.rows(json) }),
      (error: Error) => console.warn(`${name}:`, error.message),
    );
    return () => undefined;
  }
}

let only: Source | undefined;

export function live(): Source {
  only ??= report() === undefined ? new Live(() => apiUrl("live")) : new Kept();
  return only;
}
