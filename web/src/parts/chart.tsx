// A chart over time: uPlot inside, its colours from the page's, its numbers as text for who cannot see it. uPlot is a
// third of all the code: it is fetched with the first chart, so that pages without one do not wait for it.
import type uPlot from "uplot";
import { useEffect, useRef } from "preact/hooks";
import { clock } from "../base/format";
import { dark } from "../base/palette";
import { useSize } from "./common";

export interface Line {
  name: string;
  values: readonly number[];
  color: string; // a custom property of the style sheet
  dash?: number[];
  fill?: boolean;
}

export interface ChartProps {
  label: string;
  time: readonly number[];
  lines: readonly Line[];
  unit(value: number): string;
  height?: number;
  top?: number;
  binary?: boolean; // ticks at round numbers of KiB, MiB …, not of thousands
  marks?: readonly { at: number; name: string }[]; // horizontal lines
}

function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function drawMarks(plot: uPlot, marks: ChartProps["marks"]): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = color("--dim");
  ctx.fillStyle = color("--dim");
  ctx.setLineDash([4, 4]);
  ctx.font = `${10 * devicePixelRatio}px system-ui`;
  for (const { at, name } of marks ?? []) {
    const y = Math.round(plot.valToPos(at, "y", true)) + 0.5;
    if (y > bbox.top) {
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.fillText(name, bbox.left + 4, y - 3);
    }
  }
  ctx.restore();
}

const POWERS = Array.from({ length: 60 }, (_, power) => 2 ** power);

function options(props: ChartProps, width: number, height: number): uPlot.Options {
  const axis = { stroke: color("--dim"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  return {
    width,
    height,
    cursor: { y: false, drag: { x: false, y: false } },
    legend: { show: true, live: true },
    scales: { x: { time: true }, y: { range: (_, _low, high) => [0, props.top ?? Math.max(high * 1.08, 1e-9)] } },
    axes: [
      { ...axis, size: 22, space: 70, values: (_, ticks) => ticks.map((tick) => clock(tick)) },
      { ...axis, size: 62, space: 28, ...(props.binary ? { incrs: POWERS } : {}), values: (_, ticks) => ticks.map(props.unit) },
    ],
    series: [
      { value: (_, value) => clock(value) },
      ...props.lines.map((line) => ({
        label: line.name,
        stroke: color(line.color),
        width: 1.5,
        dash: line.dash,
        fill: line.fill ? `${color(line.color)}22` : undefined,
        points: { show: false },
        value: (_: uPlot, value: number | null) => (value === null ? "–" : props.unit(value)),
      })),
    ],
    hooks: { draw: [(plot) => drawMarks(plot, props.marks)] },
  };
}

export function Chart(props: ChartProps) {
  const { element, width } = useSize<HTMLDivElement>();
  const plot = useRef<uPlot | undefined>(undefined);
  const height = props.height ?? 120;
  const shape = JSON.stringify([width, height, props.lines.map((line) => [line.name, line.color]), dark.value, props.marks, props.top]);
  const data = [props.time, ...props.lines.map((line) => line.values.map((value) => (Number.isFinite(value) ? value : null)))];
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    let gone = false;
    if (width > 0) {
      void import("uplot").then(({ default: Plot }) => {
        if (!gone && element.current !== null) {
          plot.current = new Plot(options(props, width, height), latest.current as uPlot.AlignedData, element.current);
        }
      });
    }
    return () => {
      gone = true;
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(data as uPlot.AlignedData));
  const last = props.lines.map((line) => `${line.name} ${props.unit(line.values[line.values.length - 1])}`).join(", ");
  return <div class="chart" ref={element} role="img" aria-label={`${props.label}: ${last}`} />;
}
