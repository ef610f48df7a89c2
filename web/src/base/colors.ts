// The colours themselves; what they are given to is in palette.ts. Ten (the first five are Okabe and Ito's), the grey of
// all others and the alarm: any two of them differ for every kind of colour vision, which a test holds them to. Pure.
export type Rgb = readonly [number, number, number];

export const TEN: readonly Rgb[] = [
  [0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [134, 68, 3], [135, 148, 255], [151, 203, 181],
  [45, 98, 61], [167, 132, 71],
];
export const GREY: Rgb = [104, 108, 112];
export const ALARM: Rgb = [213, 94, 0];
