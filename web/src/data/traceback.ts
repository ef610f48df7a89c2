// Python's tracebacks as text, taken apart into frames. A frame is the user's own unless its file belongs to an
// installation; runs of frames that are not are folded, as the fault is hardly ever there.
export interface TraceFrame {
  file: string;
  line: number;
  name: string;
  source: string[];
  library: string | undefined; // which one, where it is not the user's
}

const PLACE = /^\s*File "(.*)", line (\d+), in (.*)$/;

function libraryOf(file: string): string | undefined {
  const installed = /(?:site|dist)-packages[\\/]([^\\/]+)/.exec(file);
  if (installed !== null) {
    return installed[1].replace(/\.py$/, "");
  }
  const standard = /[\\/]lib[\\/]?(?:64)?[\\/]?python\d[\d.]*[\\/]([^\\/]+)/.exec(file);
  if (standard !== null) {
    return standard[1].replace(/\.py$/, "");
  }
  return /^<frozen /.test(file) ? "python" : undefined;
}

export function framesOf(text: string): TraceFrame[] {
  const frames: TraceFrame[] = [];
  for (const line of text.split("\n")) {
    const found = PLACE.exec(line);
    if (found !== null) {
      frames.push({ file: found[1], line: Number(found[2]), name: found[3], source: [], library: libraryOf(found[1]) });
    } else if (frames.length > 0 && line.trim() !== "") {
      frames[frames.length - 1].source.push(line);
    }
  }
  return frames;
}

export interface Fold {
  folded: boolean;
  frames: TraceFrame[];
}

// Neighbours of one kind together. The last frame is where it was raised: it is shown, whosever it is.
export function folds(frames: readonly TraceFrame[]): Fold[] {
  const out: Fold[] = [];
  frames.forEach((frame, index) => {
    const folded = frame.library !== undefined && index < frames.length - 1;
    const open = out[out.length - 1];
    if (open !== undefined && open.folded === folded) {
      open.frames.push(frame);
    } else {
      out.push({ folded, frames: [frame] });
    }
  });
  return out;
}
