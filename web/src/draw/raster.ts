// A canvas as pixels: rectangles are rows of 32-bit words, put on the screen at once. Ten times faster than fillRect
// for tens of thousands of small ones, and it needs no GPU. Text goes on top, by the canvas itself.
export class Raster {
  width = 0;
  height = 0;
  ratio = 1;
  private image: ImageData | undefined;
  private pixels = new Uint32Array(0);
  readonly context: CanvasRenderingContext2D;

  constructor(readonly canvas: HTMLCanvasElement) {
    const context = canvas.getContext("2d", { alpha: false });
    if (context === null) {
      throw new Error("this browser draws no canvas");
    }
    this.context = context;
  }

  // Sizes are in CSS pixels here, in device pixels for all that draws.
  resize(width: number, height: number): void {
    this.ratio = window.devicePixelRatio || 1;
    const w = Math.max(1, Math.round(width * this.ratio));
    const h = Math.max(1, Math.round(height * this.ratio));
    if (w !== this.width || h !== this.height || this.image === undefined) {
      this.width = this.canvas.width = w;
      this.height = this.canvas.height = h;
      this.image = this.context.createImageData(w, h);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
  }

  clear(color: number): void {
    this.pixels.fill(color);
  }

  // From (x0, y0) up to, not including, (x1, y1).
  fill(x0: number, y0: number, x1: number, y1: number, color: number): void {
    const left = Math.max(0, x0);
    const right = Math.min(this.width, x1);
    const bottom = Math.min(this.height, y1);
    for (let y = Math.max(0, y0); y < bottom && left < right; y++) {
      this.pixels.fill(color, y * this.width + left, y * this.width + right);
    }
  }

  // Stripes at 45 degrees, so that what is not computing is told apart without colour.
  hatch(x0: number, y0: number, x1: number, y1: number, color: number): void {
    const right = Math.min(this.width, x1);
    const bottom = Math.min(this.height, y1);
    const period = Math.max(4, Math.round(4 * this.ratio));
    for (let y = Math.max(0, y0); y < bottom; y++) {
      for (let x = Math.max(0, x0); x < right; x++) {
        if ((x + y) % period < period / 2) {
          this.pixels[y * this.width + x] = color;
        }
      }
    }
  }

  // Dots, for what is neither computing nor waiting for others.
  dots(x0: number, y0: number, x1: number, y1: number, color: number): void {
    const step = Math.max(3, Math.round(3 * this.ratio));
    for (let y = Math.max(0, y0); y < Math.min(this.height, y1); y++) {
      for (let x = Math.max(0, x0); x < Math.min(this.width, x1); x++) {
        if (x % step < step / 2 && y % step < step / 2) {
          this.pixels[y * this.width + x] = color;
        }
      }
    }
  }

  frame(x0: number, y0: number, x1: number, y1: number, thick: number, color: number): void {
    this.fill(x0, y0, x1, y0 + thick, color);
    this.fill(x0, y1 - thick, x1, y1, color);
    this.fill(x0, y0, x0 + thick, y1, color);
    this.fill(x1 - thick, y0, x1, y1, color);
  }

  show(): void {
    if (this.image !== undefined) {
      this.context.putImageData(this.image, 0, 0);
    }
  }
}
