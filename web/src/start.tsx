// Everything that begins once, whether there is a cluster or a report of one.
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { effect } from "@preact/signals";
import { render } from "preact";
import { startKeys } from "./base/keys";
import { chosen } from "./base/palette";
import { startRouting } from "./base/route";
import { App } from "./shell";

export function start(): void {
  startRouting();
  startKeys();
  effect(() => {
    if (chosen.value === undefined) {
      delete document.documentElement.dataset.theme;
    } else {
      document.documentElement.dataset.theme = chosen.value;
    }
  });
  const root = document.getElementById("app");
  if (root !== null) {
    render(<App />, root);
  }
}
