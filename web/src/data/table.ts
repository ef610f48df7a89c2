// The rows of a live channel by their id, as a signal that pages look at.
import { signal, type ReadonlySignal } from "@preact/signals";
import type { Row } from "../wire/channels";
import { Mode } from "../wire/frame";
import type { Batch } from "../wire/live";

// Rows by the first column, which is each channel's id. `most` bounds those that only grow.
export class Table<T> {
  readonly rows = new Map<number, T>();
  private readonly changed = signal(0);
  readonly version: ReadonlySignal<number> = this.changed;
  time = 0;
  loaded = false;

  constructor(private readonly key: keyof T & string, private readonly most = Infinity) {}

  apply(batch: Batch): void {
    if (batch.mode === Mode.Replace) {
      this.rows.clear();
    }
    for (const row of batch.rows as Row[]) {
      const id = row[this.key] as number;
      // What did not change may be left out.
      this.rows.set(id, { ...this.rows.get(id), ...row } as T);
    }
    for (const id of this.rows.keys()) {
      if (this.rows.size <= this.most) {
        break;
      }
      this.rows.delete(id);
    }
    this.time = batch.time;
    this.loaded = true;
    this.changed.value++;
  }

  // The rows now; whoever calls this while rendering is rendered again when they change.
  list(): T[] {
    void this.changed.value;
    return [...this.rows.values()];
  }
}
