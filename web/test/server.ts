// Serves the pages and a cluster that never was, over HTTP and WebSocket, as the observer does: for tests of the pages
// alone. It knows just enough of RFC 6455 for browsers on this machine.
import { createHash } from "node:crypto";
import { readFileSync, existsSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { extname, join } from "node:path";
import { CHANNELS, channelNamed, type Row } from "../src/wire/channels";
import type { Column } from "../src/wire/frame";
import type { Cluster } from "./cluster";
import { encodeFrame } from "./encode";

const TYPES: Record<string, string> = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html; charset=utf-8" };
const POLICY = "default-src 'self'; frame-ancestors *";
// Columns that carry more than 32 bits, or fractions.
const WIDE = /^(time|n|start|stop|first|last|removed|lastSeen|runs|failures|count|limit|process|managed|unmanaged.*|spilled|duration|nbytes|busy|occupancy|cpu|transfer|deserialize|disk|net.*|disk.+|.*Rate|longestTurn|loopBusy|dropped|threadsBusy)$/;

function columnsOf(channel: number, rows: readonly Row[]): [number, Column][] {
  return CHANNELS[channel].columns.flatMap((name, number): [number, Column][] => {
    const values = rows.map((row) => row[name]);
    if (rows.length === 0 || values[0] === undefined) {
      return [];
    }
    if (typeof values[0] === "string") {
      return [[number, values as string[]]];
    }
    return [[number, WIDE.test(name) ? Float64Array.from(values as number[]) : Uint32Array.from(values as number[])]];
  });
}

function webSocketFrame(payload: Uint8Array, opcode: number): Buffer {
  const head = payload.length < 126 ? Buffer.from([0x80 | opcode, payload.length]) : payload.length < 65536 ? Buffer.alloc(4) : Buffer.alloc(10);
  if (payload.length >= 126) {
    head[0] = 0x80 | opcode;
    head[1] = payload.length < 65536 ? 126 : 127;
    if (payload.length < 65536) {
      head.writeUInt16BE(payload.length, 2);
    } else {
      head.writeBigUInt64BE(BigInt(payload.length), 2);
    }
  }
  return Buffer.concat([head, payload]);
}

export interface Options {
  prefix?: string; // "/x/y"
  sockets?: boolean; // refuse WebSockets when false
}

export class PageServer {
  readonly server: Server;
  readonly asked: string[] = []; // what came, in order
  readonly queries: string[] = []; // and with what
  readonly said: Record<string, unknown>[] = []; // what came over WebSockets
  private readonly sockets = new Map<Socket, () => Cluster>(); // and what each is told about
  private waiting: (() => void)[] | undefined; // WebSockets that nobody answers, until they are let in
  cluster: Cluster;
  readonly kept = new Map<string, Cluster>(); // below history/NAME/

  constructor(private readonly assets: string, cluster: Cluster, private readonly options: Options = {}) {
    this.cluster = cluster;
    this.server = createServer((request, response) => {
      const { status, type, body } = this.answer(request);
      response.writeHead(status, { "content-type": type, "content-security-policy": POLICY, "cache-control": "no-store" });
      response.end(body);
    });
    this.server.on("upgrade", (request: IncomingMessage, socket: Socket) => this.upgrade(request, socket));
  }

  async listen(port = 0): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(port, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}${this.options.prefix ?? ""}/`;
  }

  async close(): Promise<void> {
    this.cut();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  cut(): void {
    this.sockets.forEach((_, socket) => socket.destroy());
    this.sockets.clear();
  }

  // As a cable that is pulled: what there is breaks, and what is tried then hears nothing until it is plugged in again.
  pull(): void {
    this.waiting = [];
    this.cut();
  }

  plug(): void {
    const waiting = this.waiting ?? [];
    this.waiting = undefined;
    waiting.forEach((enter) => enter());
  }

  // Whose answer it is, and the path there.
  private clusterOf(request: IncomingMessage): { cluster: Cluster; path: string; whole: string; url: URL } {
    const url = new URL(request.url ?? "/", "http://localhost");
    const prefix = `${this.options.prefix ?? ""}/`;
    const whole = url.pathname.startsWith(prefix) ? url.pathname.slice(prefix.length) : url.pathname;
    const [, name, path] = /^history\/([^/]+)\/(.*)$/.exec(whole) ?? [];
    return name === undefined ? { cluster: this.cluster, path: whole, whole, url } : { cluster: this.kept.get(name) ?? this.cluster, path, whole, url };
  }

  private answer(request: IncomingMessage): { status: number; type: string; body: string | Buffer } {
    const { cluster, path, whole, url } = this.clusterOf(request);
    this.asked.push(whole);
    this.queries.push(url.search);
    if (path.startsWith("api/cask/v1/")) {
      const { status, body } = cluster.answer(path.slice("api/cask/v1/".length), url.searchParams);
      return { status, type: "application/json", body: JSON.stringify(body) };
    }
    const file = join(this.assets, path);
    if (path.startsWith("static/") && existsSync(file)) {
      return { status: 200, type: TYPES[extname(file)], body: readFileSync(file) };
    }
    const depth = Math.min(path.split("/").length - 1, 2);
    return { status: 200, type: TYPES[".html"], body: readFileSync(join(this.assets, `shell-${depth}.html`)) };
  }

  private upgrade(request: IncomingMessage, socket: Socket): void {
    if (this.options.sockets === false) {
      socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
      return;
    }
    if (this.waiting !== undefined) {
      this.waiting.push(() => this.upgrade(request, socket));
      return;
    }
    const key = request.headers["sec-websocket-key"] as string;
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`);
    this.sockets.set(socket, () => this.clusterOf(request).cluster);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.sockets.delete(socket));
    let held = Buffer.alloc(0);
    socket.on("data", (data: Buffer) => {
      held = Buffer.concat([held, data]);
      for (let taken = this.take(socket, held); taken > 0; taken = this.take(socket, held)) {
        held = held.subarray(taken);
      }
    });
  }

  // The first message of what came, if it is whole: how many bytes it had.
  private take(socket: Socket, held: Buffer): number {
    if (held.length < 6) {
      return 0;
    }
    const short = held[1] & 0x7f;
    const head = short < 126 ? 2 : 4;
    const size = short < 126 ? short : held.readUInt16BE(2);
    if (held.length < head + 4 + size) {
      return 0;
    }
    const mask = held.subarray(head, head + 4);
    const payload = Buffer.from(held.subarray(head + 4, head + 4 + size)).map((byte, index) => byte ^ mask[index % 4]);
    if ((held[0] & 15) === 8) {
      socket.end(webSocketFrame(payload, 8));
    } else if ((held[0] & 15) === 1) {
      this.hear(socket, JSON.parse(Buffer.from(payload).toString()));
    }
    return head + 4 + size;
  }

  private hear(socket: Socket, message: { sub?: string; id?: number }): void {
    this.said.push(message as Record<string, unknown>);
    if (message.sub === undefined || message.id === undefined) {
      return;
    }
    const channel = channelNamed(message.sub);
    const url = new URL(CHANNELS[channel].path, "http://localhost/");
    const cluster = this.sockets.get(socket)?.() ?? this.cluster;
    const { body } = cluster.answer(url.pathname.slice(1), url.searchParams);
    const rows = CHANNELS[channel].rows(body);
    const appends = message.sub === "stream" || message.sub === "logs";
    const frame = encodeFrame({ channel, id: message.id, mode: appends ? 2 : 0, rows: rows.length, time: cluster.end, columns: columnsOf(channel, rows) });
    socket.write(webSocketFrame(new Uint8Array(frame), 2));
  }
}
