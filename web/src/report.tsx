// The pages as a report: one file, with what they show inside of it. Opened from anywhere, asking nobody.
import { openReport, type Report } from "./wire/offline";
import { start } from "./start";

declare const unpack: (id: string) => Promise<string>; // of the file itself, which unpacked this program with it

function complain(words: string): void {
  const root = document.getElementById("app");
  if (root !== null) {
    root.textContent = words;
  }
}

unpack("data").then(
  (text) => {
    const report: Report = JSON.parse(text);
    openReport(report);
    const { findings, summary } = report.answers;
    if (window.location.hash === "" && (findings?.findings.length > 0 || summary?.failures > 0)) {
      window.history.replaceState(null, "", "#problems"); // what one looks for first
    }
    start();
  },
  (error: Error) => complain(`This report cannot be read: ${error.message}`),
);
