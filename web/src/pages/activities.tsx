// What the workers' time went into: for each function, how much of it computed, waited, was spent on serializing, disk
// and network.
import { bytes, count, duration, percent } from "../base/format";
import { css, GREY, nthColor, textOn } from "../base/palette";
import { place, setQuery } from "../base/route";
import { useGroups } from "../data/tables";
import { activityTable, MEANS, units, type ActivityBar, type ActivityRow } from "../data/activities";
import { Choice, Empty, Panel, Problem, Swatch } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { useAnswer } from "../wire/api";

const NAMED_LEAST = 0.08; // share of the widest bar that has room for a name

type Colors = ReadonlyMap<string, readonly [number, number, number]>;

// The same activity has the same colour, whatever is the largest just now.
function colorsOf(names: readonly string[]): Colors {
  const known = Object.keys(MEANS);
  const place = (name: string) => (known.includes(name) ? known.indexOf(name) : known.length);
  const sorted = [...names].sort((one, other) => place(one) - place(other) || (one < other ? -1 : 1));
  return new Map(sorted.filter((name) => name !== "other").map((name, index) => [name, nthColor(index)] as const));
}

const textIn = (unit: string) => (value: number): string => (unit === "seconds" ? duration(value) : unit === "bytes" ? bytes(value) : count(value));

function Bars({ bars, colors, text }: { bars: readonly ActivityBar[]; colors: Colors; text(value: number): string }) {
  const most = bars[0]?.total ?? 1;
  return (
    <ul class="activities">
      {bars.slice(0, 40).map((bar) => {
        const says = bar.parts.map((part) => `${part.activity} ${text(part.total)}`).join(", ");
        return (
          <li key={bar.name}>
            <span class="who" title={bar.name}>{bar.name.startsWith("(") ? null : <Swatch prefix={bar.name} />} {bar.name}</span>
            <span class="sum">{text(bar.total)}</span>
            <span class="track" role="img" aria-label={`${bar.name}: ${says}`}>
              {bar.parts.map((part) => {
                const color = colors.get(part.activity) ?? GREY;
                return (
                  <span key={part.activity} title={`${part.activity}: ${text(part.total)}, ${percent(part.total / bar.total)} of ${bar.name}`}
                    style={{ width: `${(part.total / most) * 100}%`, background: css(color), color: textOn(color) }}>
                    {part.total / most > NAMED_LEAST ? part.activity : ""}
                  </span>
                );
              })}
            </span>
          </li>
        );
      })}
    </ul>
  );
}

interface Line {
  function: string;
  activity: string;
  total: number;
  share: number;
}

function columns(text: (value: number) => string, unit: string): GridColumn<Line>[] {
  return [
    { id: "function", title: "function", text: true, grow: true, value: (row) => row.function },
    { id: "activity", title: "activity", text: true, value: (row) => row.activity, cell: (row) => <span title={MEANS[row.activity]}>{row.activity}</span> },
    { id: "means", title: "that is", text: true, value: (row) => MEANS[row.activity] ?? "" },
    { id: "total", title: unit, value: (row) => row.total, cell: (row) => text(row.total) },
    { id: "share", title: "of the function", value: (row) => row.share, cell: (row) => percent(row.share) },
  ];
}

export function Activities() {
  useGroups(); // prefixes have their colours by what runs
  const { data, error } = useAnswer("activities", {}, 2);
  const rows: ActivityRow[] = data?.activities ?? [];
  const query = place.value.query;
  const known = units(rows);
  const unit = query.get("unit") ?? known[0] ?? "seconds";
  const fn = query.get("function") ?? undefined;
  const all = activityTable(rows, unit);
  const { bars, activities } = fn === undefined ? all : activityTable(rows, unit, fn);
  const colors = colorsOf(all.activities.map((one) => one.activity));
  const text = textIn(unit);
  const sum = activities.reduce((total, one) => total + one.total, 0);
  if (data !== undefined && rows.length === 0) {
    return <Empty>Nothing was measured yet. Workers tell with their heartbeats, once tasks have run.</Empty>;
  }
  return (
    <>
      <Problem error={error} />
      <div class="tools">
        <Choice label="unit" value={unit} options={known.map((one) => [one, one] as const)} onChange={(value) => setQuery({ unit: value })} />
        <Choice label="function" value={fn ?? ""} options={[["", "all"], ...all.bars.map((bar) => [bar.name, bar.name] as const)]} onChange={(value: string) => setQuery({ function: value || undefined })} />
        <span class="dim">{text(sum)} in all, summed over the threads of all workers since they came</span>
      </div>
      <ul class="legend" aria-label="Activities">
        {activities.map(({ activity, total }) => (
          <li key={activity} title={MEANS[activity]}>
            <span class="swatch" style={{ background: css(colors.get(activity) ?? GREY) }} aria-hidden="true" /> {activity} <b>{text(total)}</b> <span class="dim">{percent(total / sum)}</span>
          </li>
        ))}
      </ul>
      <Panel title="By function" side="the most first"><Bars bars={bars} colors={colors} text={text} /></Panel>
      <Panel title="Function by activity">
        <Grid label="Function by activity" columns={columns(text, unit)} id={(row) => `${row.function}\n${row.activity}`} sort="-total" empty="Nothing of this unit."
          rows={bars.flatMap((bar) => bar.parts.map((part) => ({ function: bar.name, ...part, share: part.total / bar.total })))} />
      </Panel>
    </>
  );
}
