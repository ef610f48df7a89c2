// A binary frame of api/cask/v1/live, as docs/observer.md draws it: a header of 32 bytes, a directory of columns, the
// columns' data, all little-endian and 8-byte aligned, so that numbers are views of what the socket received.

export const enum Mode {
  Replace = 0,
  Upsert = 1,
  Append = 2,
}

export type Column = Float64Array | Float32Array | Uint32Array | Uint16Array | Uint8Array | string[];

export interface Frame {
  mode: Mode;
  channel: number;
  id: number;
  sequence: number;
  rows: number;
  time: number;
  columns: Map<number, Column>;
}

export class FrameError extends Error {}

const VERSION = 1;
const HEADER = 32;
const ENTRY = 8;
const SAME = 0x80; // added to a type: one value, which all rows have
const utf8 = new TextDecoder();

function padded(size: number): number {
  return (size + 7) & ~7;
}

function texts(buffer: ArrayBuffer, at: number, size: number, rows: number): string[] {
  const ends = (rows + 1) * 4;
  if (size < ends) {
    throw new FrameError("text column without its offsets");
  }
  const offsets = new Uint32Array(buffer, at, rows + 1);
  const bytes = new Uint8Array(buffer, at + ends, size - ends);
  const out = new Array<string>(rows);
  for (let row = 0; row < rows; row++) {
    const from = offsets[row];
    const to = offsets[row + 1];
    if (from > to || to > bytes.length) {
      throw new FrameError("text column points outside of itself");
    }
    out[row] = utf8.decode(bytes.subarray(from, to));
  }
  return out;
}

// Types by number; a type that is not known yet gives undefined, and its column is skipped.
function column(type: number, buffer: ArrayBuffer, at: number, size: number, rows: number): Column | undefined {
  const width = [0, 8, 4, 4, 1, 0, 2][type];
  if (width === undefined || type === 0) {
    return undefined;
  }
  if (type !== 5 && size !== rows * width) {
    throw new FrameError("column is not as long as the frame");
  }
  switch (type) {
    case 1:
      return new Float64Array(buffer, at, rows);
    case 2:
      return new Float32Array(buffer, at, rows);
    case 3:
      return new Uint32Array(buffer, at, rows);
    case 4:
      return new Uint8Array(buffer, at, rows);
    case 6:
      return new Uint16Array(buffer, at, rows);
    default:
      return texts(buffer, at, size, rows);
  }
}

function repeated(one: Column, rows: number): Column {
  if (Array.isArray(one)) {
    return new Array<string>(rows).fill(one[0]);
  }
  const Kind = one.constructor as new (size: number) => Exclude<Column, string[]>;
  return new Kind(rows).fill(one[0]);
}

export function decodeFrame(buffer: ArrayBuffer): Frame {
  if (buffer.byteLength < HEADER) {
    throw new FrameError("frame without a header");
  }
  const view = new DataView(buffer);
  if (view.getUint8(0) !== VERSION) {
    throw new FrameError(`frame of version ${view.getUint8(0)}`);
  }
  const rows = view.getUint32(12, true);
  const count = view.getUint32(24, true);
  let at = HEADER + count * ENTRY;
  if (at > buffer.byteLength) {
    throw new FrameError("frame without its directory");
  }
  const columns = new Map<number, Column>();
  for (let entry = 0; entry < count; entry++) {
    const place = HEADER + entry * ENTRY;
    const size = view.getUint32(place + 4, true);
    if (size > buffer.byteLength - at) {
      throw new FrameError("column ends after its frame");
    }
    const type = view.getUint8(place);
    const same = (type & SAME) !== 0 && rows > 0;
    const data = column(type & ~SAME, buffer, at, size, same ? 1 : rows);
    if (data !== undefined) {
      columns.set(view.getUint16(place + 2, true), same ? repeated(data, rows) : data);
    }
    at += padded(size);
  }
  return {
    mode: view.getUint8(1),
    channel: view.getUint16(2, true),
    id: view.getUint32(4, true),
    sequence: view.getUint32(8, true),
    rows,
    time: view.getFloat64(16, true),
    columns,
  };
}
