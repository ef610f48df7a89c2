// Draws the task stream. Where runs are wide enough to be told apart each is a rectangle; where not, each lane is a
// strip whose height is the share of the time it was busy: the group with the most time in its colour, the rest grey,
// transfers hatched. "The main colour of each pixel" of a mix of tasks would be confetti.
import { ALARM, GREY, pixel, textOn, css, type Rgb } from "../base/palette";
import { clock, duration } from "../base/format";
import { beginOf, gapsOf, reasonOf, says, type Facts, type Gap } from "./gaps";
import { Raster } from "./raster";
import { laneIndex, ticks, type Lane, type Runs, type Span, type Strips } from "./timeline";

export const GUTTER = 118; // CSS pixels for the names of lanes
export const AXIS = 22; // and for the time
const LANE_MOST = 34;
const TEXT_LEAST = 36; // a rectangle narrower than this has no name in it
const TRANSFER: Rgb = [120, 60, 30];
const OTHER: Rgb = [86, 93, 99];
const GAP_LEAST = 70; // CSS pixels of an idle time that is told about

export interface Look {
  span: Span;
  lanes: readonly Lane[];
  runs?: Runs;
  strips?: Strips;
  selected: number; // a run's number, -1: none
  color(group: number, failed: boolean): Rgb;
  colorOf(prefix: string): Rgb;
  filter?: string; // only this prefix
  name(group: number): string;
  shown(worker: number, group: number): boolean;
  dark: boolean;
  facts?: Facts; // that say why lanes are idle
  marked?: Span; // the range that other pages keep to
  arrows?: readonly Arrow[]; // from the inputs of the selected run
}

// Where an input was made, and when it was done.
export interface Arrow {
  worker: number;
  lane: number;
  until: number;
}

export interface Target {
  index: number; // in runs
  left: number;
  top: number;
}

interface Geometry {
  left: number;
  top: number;
  lane: number; // height
  gap: number;
  perSecond: number;
}

// A run, and the pixels that its lane has.
interface Slot {
  index: number;
  y0: number;
  y1: number;
}

export class StreamPainter {
  private readonly raster: Raster;

  constructor(canvas: HTMLCanvasElement) {
    this.raster = new Raster(canvas);
  }

  resize(width: number, height: number): void {
    this.raster.resize(width, height);
  }

  private geometry(look: Look): Geometry {
    const { width, height, ratio } = this.raster;
    const left = Math.round(GUTTER * ratio);
    const top = Math.round(AXIS * ratio);
    const room = (height - top) / Math.max(look.lanes.length, 1);
    const lane = Math.max(1, Math.min(Math.floor(room), Math.round(LANE_MOST * ratio)));
    return { left, top, lane, gap: lane > 5 * ratio ? Math.round(ratio) : 0, perSecond: (width - left) / (look.span.until - look.span.since) };
  }

  draw(look: Look): void {
    const at = this.geometry(look);
    const ground = look.dark ? pixel([26, 29, 32]) : pixel([255, 255, 255]);
    const track = look.dark ? pixel([33, 37, 41]) : pixel([243, 243, 240]);
    this.raster.clear(ground);
    look.lanes.forEach((_, index) => this.raster.fill(at.left, this.laneTop(at, index), this.raster.width, this.laneTop(at, index) + at.lane - at.gap, track));
    if (look.runs !== undefined) {
      this.drawRuns(look, look.runs, at);
    } else if (look.strips !== undefined) {
      this.drawStrips(look, look.strips, at);
    }
    this.raster.show();
    if (look.runs !== undefined) {
      this.nameGaps(look, look.runs, at);
      this.nameRuns(look, look.runs, at);
    }
    this.drawMarked(look, at);
    this.drawArrows(look, at);
    this.drawEdges(look, at);
  }

  private laneTop(at: Geometry, index: number): number {
    return at.top + index * at.lane;
  }

  private drawRuns(look: Look, runs: Runs, at: Geometry): void {
    const place = laneIndex(look.lanes);
    // What went before a run lies below those that ran meanwhile.
    const all: Slot[] = [];
    for (let index = 0; index < runs.size; index++) {
      const gone = runs.start[index] + runs.duration[index] < look.span.since || beginOf(runs, index) > look.span.until;
      const lane = gone || !look.shown(runs.worker[index], runs.group[index]) ? -1 : place(runs.worker[index], runs.lane[index]);
      if (lane >= 0) {
        const y0 = this.laneTop(at, lane);
        all.push({ index, y0, y1: y0 + at.lane - at.gap });
      }
    }
    all.forEach((slot) => this.drawBefore(look, runs, at, slot));
    all.forEach((slot) => this.drawRun(look, runs, at, slot));
  }

  // Its inputs coming, then being unpickled.
  private drawBefore(look: Look, runs: Runs, at: Geometry, { index, y0, y1 }: Slot): void {
    const x = (time: number) => Math.floor(at.left + (time - look.span.since) * at.perSecond);
    const x0 = x(runs.start[index]);
    const xo = x(runs.start[index] - runs.other[index]);
    if (runs.transfer[index] > 0) {
      const xt = x(beginOf(runs, index));
      this.raster.hatch(Math.max(xt, at.left), y0, Math.max(xo, xt + 1), y1, pixel(TRANSFER));
    }
    this.raster.dots(Math.max(xo, at.left), y0, x0, y1, pixel(OTHER));
  }

  private drawRun(look: Look, runs: Runs, at: Geometry, { index, y0, y1 }: Slot): void {
    const thick = Math.max(1, Math.round(1.5 * this.raster.ratio));
    const x0 = Math.floor(at.left + (runs.start[index] - look.span.since) * at.perSecond);
    const x1 = Math.max(x0 + 1, Math.floor(at.left + (runs.start[index] + runs.duration[index] - look.span.since) * at.perSecond));
    const from = Math.max(x0, at.left);
    this.raster.fill(from, y0, x1, y1, pixel(look.color(runs.group[index], runs.failed[index] !== 0)));
    // A hairline of background between neighbours, where there is room for it.
    if (x1 - x0 > 4) {
      this.raster.fill(x1 - 1, y0, x1, y1, look.dark ? 0xff201d1a : 0xffffffff);
    }
    if (runs.failed[index] !== 0) {
      this.raster.frame(from, y0, Math.max(x1, from + 3), y1, thick, pixel(ALARM));
    }
    if (runs.n[index] === look.selected) {
      this.raster.frame(from - thick, y0 - thick, x1 + thick, y1 + thick, thick, look.dark ? 0xffffffff : 0xff000000);
    }
  }

  private nameRuns(look: Look, runs: Runs, at: Geometry): void {
    const { context, ratio } = this.raster;
    if (at.lane < 12 * ratio) {
      return;
    }
    const place = laneIndex(look.lanes);
    const size = Math.min(11, at.lane / ratio - 3) * ratio;
    context.font = `${size}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    for (let index = 0; index < runs.size; index++) {
      const x0 = Math.max(at.left, at.left + (runs.start[index] - look.span.since) * at.perSecond);
      const x1 = at.left + (runs.start[index] + runs.duration[index] - look.span.since) * at.perSecond;
      const lane = x1 - x0 < TEXT_LEAST * ratio || x0 > this.raster.width ? -1 : place(runs.worker[index], runs.lane[index]);
      if (lane >= 0 && look.shown(runs.worker[index], runs.group[index])) {
        const y0 = this.laneTop(at, lane);
        context.save();
        context.beginPath();
        context.rect(x0, y0, x1 - x0 - 3 * ratio, at.lane);
        context.clip();
        context.fillStyle = textOn(look.color(runs.group[index], runs.failed[index] !== 0));
        const sign = runs.failed[index] !== 0 ? "✕ " : "";
        context.fillText(sign + look.name(runs.group[index]), x0 + 4 * ratio, y0 + at.lane / 2);
        context.restore();
      }
    }
  }

  // Why nothing ran, where there is room to say it.
  private nameGaps(look: Look, runs: Runs, at: Geometry): void {
    const { context, ratio } = this.raster;
    if (at.lane < 12 * ratio || look.facts === undefined) {
      return;
    }
    context.font = `${Math.min(11, at.lane / ratio - 3) * ratio}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.fillStyle = look.dark ? "#9aa3ab" : "#565d63";
    look.lanes.forEach((lane, place) => {
      for (const gap of gapsOf(runs, lane.worker, lane.thread, look.span, (GAP_LEAST * ratio) / at.perSecond)) {
        const x0 = Math.max(at.left, at.left + (gap.since - look.span.since) * at.perSecond);
        const room = at.left + (gap.until - look.span.since) * at.perSecond - x0 - 8 * ratio;
        const long = says(gap, look.facts);
        const text = context.measureText(long).width <= room ? long : reasonOf(gap, look.facts);
        if (context.measureText(text).width <= room) {
          context.fillText(text, x0 + 4 * ratio, this.laneTop(at, place) + at.lane / 2);
        }
      }
    });
  }

  private drawMarked(look: Look, at: Geometry): void {
    const { context, width, height } = this.raster;
    if (look.marked === undefined) {
      return;
    }
    const x0 = at.left + (look.marked.since - look.span.since) * at.perSecond;
    const x1 = at.left + (look.marked.until - look.span.since) * at.perSecond;
    context.fillStyle = look.dark ? "#ffffff1c" : "#0000001a";
    context.fillRect(at.left, at.top, Math.max(0, x0 - at.left), height);
    context.fillRect(Math.max(x1, at.left), at.top, width, height);
    context.fillStyle = look.dark ? "#9cc9f5" : "#0b5cad";
    context.fillRect(x0, at.top, Math.max(1, this.raster.ratio), height);
    context.fillRect(x1, at.top, Math.max(1, this.raster.ratio), height);
  }

  // From the end of each input's run to the beginning of the selected one.
  private drawArrows(look: Look, at: Geometry): void {
    const { context, ratio } = this.raster;
    const { runs } = look;
    const to = runs === undefined ? -1 : runs.n.indexOf(look.selected);
    if (runs === undefined || to < 0 || to >= runs.size || look.arrows === undefined) {
      return;
    }
    const place = laneIndex(look.lanes);
    const middle = (lane: number) => this.laneTop(at, lane) + at.lane / 2;
    const x = (time: number) => at.left + (time - look.span.since) * at.perSecond;
    const x1 = x(runs.start[to]);
    const y1 = middle(place(runs.worker[to], runs.lane[to]));
    context.strokeStyle = context.fillStyle = look.dark ? "#ffffff" : "#000000";
    context.lineWidth = 1.5 * ratio;
    for (const arrow of look.arrows) {
      const lane = place(arrow.worker, arrow.lane);
      if (lane < 0) {
        continue;
      }
      const x0 = Math.max(x(arrow.until), at.left - 1e4);
      const bend = Math.max(12 * ratio, (x1 - x0) / 3);
      context.beginPath();
      context.moveTo(x0, middle(lane));
      context.bezierCurveTo(x0 + bend, middle(lane), x1 - bend, y1, x1 - 6 * ratio, y1);
      context.stroke();
      context.beginPath();
      context.arc(x0, middle(lane), 2.5 * ratio, 0, 2 * Math.PI);
      context.fill();
    }
    if (look.arrows.length > 0) {
      context.beginPath();
      context.moveTo(x1, y1);
      context.lineTo(x1 - 7 * ratio, y1 - 4 * ratio);
      context.lineTo(x1 - 7 * ratio, y1 + 4 * ratio);
      context.fill();
    }
  }

  private drawStrips(look: Look, strips: Strips, at: Geometry): void {
    const place = laneIndex(look.lanes);
    for (const strip of strips.lanes) {
      const lane = place(strip.worker, strip.lane, strip.host);
      if (lane >= 0) {
        this.drawStrip(look, strips, strip, at, this.laneTop(at, lane));
      }
    }
  }

  private drawStrip(look: Look, strips: Strips, strip: Strips["lanes"][number], at: Geometry, y0: number): void {
    const buckets = strip.busy.length;
    const width = (strips.until - strips.since) / buckets;
    const floor = y0 + at.lane - at.gap;
    const room = at.lane - at.gap;
    const grey = pixel(GREY);
    const transfer = pixel(TRANSFER);
    const alarm = pixel(ALARM);
    for (let bucket = 0; bucket < buckets; bucket++) {
      const x0 = Math.floor(at.left + (strips.since + bucket * width - look.span.since) * at.perSecond);
      const x1 = Math.ceil(at.left + (strips.since + (bucket + 1) * width - look.span.since) * at.perSecond);
      if (x1 <= at.left || x0 >= this.raster.width || strip.runs[bucket] + strip.busy[bucket] + strip.transfer[bucket] === 0) {
        continue;
      }
      const left = Math.max(x0, at.left);
      // At least a pixel for what was there at all.
      const busy = Math.max(1, Math.min(room, Math.round(strip.busy[bucket] * room)));
      const top = strips.prefixes[strip.top[bucket]] ?? "";
      const main = look.filter === undefined || look.filter === top ? Math.round(strip.top_share[bucket] * busy) : 0;
      this.raster.fill(left, floor - busy, x1, floor, grey);
      this.raster.fill(left, floor - main, x1, floor, pixel(look.colorOf(top)));
      const moving = Math.round((strip.transfer[bucket] + strip.disk[bucket] + strip.deserialize[bucket]) * room);
      this.raster.hatch(left, Math.max(y0, floor - busy - moving), x1, floor - busy, transfer);
      if (strip.failed[bucket] > 0) {
        this.raster.fill(left, y0, Math.max(x1, left + 2), y0 + Math.max(2, Math.round(room / 4)), alarm);
      }
    }
  }

  // Names of lanes and the time, over whatever reached below them.
  private drawEdges(look: Look, at: Geometry): void {
    const { context, ratio, width, height } = this.raster;
    const ink = look.dark ? "#9aa3ab" : "#565d63";
    context.fillStyle = look.dark ? css([26, 29, 32]) : "#fff";
    context.fillRect(0, 0, width, at.top);
    context.fillRect(0, 0, at.left - 2, height);
    context.fillStyle = ink;
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    let below = 0;
    look.lanes.forEach((lane, index) => {
      const y = this.laneTop(at, index) + at.lane / 2;
      if (lane.first && y >= below) {
        const inside = lane.kind === "worker" && look.lanes[0].kind === "host" ? 14 * ratio : 0;
        context.fillText(fitted(context, lane.name, at.left - 12 * ratio - inside), 4 * ratio + inside, y);
        below = y + 12 * ratio;
      }
    });
    const span = look.span;
    const marks = ticks(span, (width - at.left) / (90 * ratio));
    const fine = marks.length > 1 && marks[1] - marks[0] < 1;
    context.globalAlpha = 1;
    for (const mark of marks) {
      const x = Math.round(at.left + (mark - span.since) * at.perSecond);
      context.fillRect(x, at.top - 4 * ratio, 1, 4 * ratio);
      const text = marks[1] - marks[0] < 0.001 ? `+${duration(mark - marks[0])}` : clock(mark, fine);
      context.fillText(text, x + 3 * ratio, at.top / 2);
    }
  }

  // The run below a point of the canvas (CSS pixels); undefined where there is none, or strips are drawn.
  find(look: Look, x: number, y: number): Target | undefined {
    const { ratio } = this.raster;
    const at = this.geometry(look);
    const lane = Math.floor((y * ratio - at.top) / at.lane);
    const runs = look.runs;
    if (runs === undefined || lane < 0 || lane >= look.lanes.length || x * ratio < at.left) {
      return undefined;
    }
    const time = this.timeAt(look, x);
    const near = 2 / at.perSecond;
    const place = laneIndex(look.lanes);
    for (let index = runs.size - 1; index >= 0; index--) {
      const from = runs.start[index] - near;
      const hit = time >= from && time <= runs.start[index] + runs.duration[index] + near;
      if (hit && place(runs.worker[index], runs.lane[index]) === lane && look.shown(runs.worker[index], runs.group[index])) {
        return { index, left: x, top: (this.laneTop(at, lane) + at.lane) / ratio };
      }
    }
    return undefined;
  }

  laneAt(look: Look, y: number): Lane | undefined {
    const at = this.geometry(look);
    return look.lanes[Math.floor((y * this.raster.ratio - at.top) / at.lane)];
  }

  // The idle time below a point.
  gapAt(look: Look, x: number, y: number): Gap | undefined {
    const at = this.geometry(look);
    const lane = look.lanes[Math.floor((y * this.raster.ratio - at.top) / at.lane)];
    if (look.runs === undefined || lane === undefined || x * this.raster.ratio < at.left) {
      return undefined;
    }
    const time = this.timeAt(look, x);
    return gapsOf(look.runs, lane.worker, lane.thread, look.span, 0).find((gap) => gap.since <= time && time < gap.until);
  }

  timeAt(look: Look, x: number): number {
    const at = this.geometry(look);
    return look.span.since + (x * this.raster.ratio - at.left) / at.perSecond;
  }
}

function fitted(context: CanvasRenderingContext2D, text: string, room: number): string {
  if (context.measureText(text).width <= room) {
    return text;
  }
  let keep = text.length - 1;
  while (keep > 1 && context.measureText(`…${text.slice(-keep)}`).width > room) {
    keep--;
  }
  return `…${text.slice(-keep)}`;
}
