/** Pictures and colours of the workbenches: what the server answers, as something to look at. */

import { blobOfRow, fromBase64 } from "../blobs.js";
import { pictureOfNumbers } from "./pixels.js";

const KINDS = [
  ["iVBORw0KGgo", "image/png"],
  ["/9j/", "image/jpeg"],
  ["UklGR", "image/webp"],
  ["R0lGOD", "image/gif"],
  ["Qk", "image/bmp"],
];
const DRAWABLE = 64; // pixels of the longer side; what is larger is a photograph
const GOLDEN = 0.618034; // of the circle of hues, as in the pictures that the server draws

/** The address of a picture in base64, as rows and answers have it. */
export function pictureUrl(base64) {
  const kind = KINDS.find(([start]) => base64.startsWith(start));
  return `data:${kind ? kind[1] : "application/octet-stream"};base64,${base64}`;
}

/**
 * A picture that has been decoded; null if this browser cannot show its format, such as TIFF.
 * @returns {Promise<HTMLImageElement | null>}
 */
export async function loadImage(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
    return image;
  } catch {
    return null;
  }
}

/** The colour of a label, [red, green, blue], as the server draws it. */
export function colourOf(label) {
  const hue = ((label * GOLDEN) % 1) * 6;
  const part = (shift) => {
    const k = (shift + hue) % 6;
    return Math.round(255 * (1 - 0.75 * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [part(5), part(3), part(1)];
}

/** Black or white, whichever one reads better on a colour. W3C WCAG 2.2, "relative luminance". */
export function inkOn(colour) {
  const [red, green, blue] = colour.map((level) => (level / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000" : "#fff";
}

/** A colour for CSS. */
export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

/** An empty canvas, and what draws on it. `read`: its pixels are read often. */
export function makeCanvas(width, height, read = false) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return { canvas, pen: canvas.getContext("2d", { willReadFrequently: read }) };
}

/** The picture scaled to a size, grey if a model sees one channel only. */
export function scaleImage(image, width, height, channels = 3) {
  const { canvas, pen } = makeCanvas(width, height);
  if (channels === 1) pen.filter = "grayscale(1)";
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image, 0, 0, width, height);
  return canvas;
}

/** Width and height of a PNG in base64, out of its header. Specification: W3C PNG, "IHDR". */
export function sizeOfPng(base64) {
  const view = new DataView(fromBase64(base64.slice(0, 32)).buffer);
  return [view.getUint32(16), view.getUint32(20)];
}

/** Whether one can draw what a model sees: a few grey pixels. */
export function isDrawable({ channels, width, height }) {
  return channels === 1 && Boolean(width && height) && Math.max(width, height) <= DRAWABLE;
}

/** Whether a picture is so small that its pixels should be seen as squares. */
export function isSmall(width, height) {
  return Math.max(width, height) < 160;
}

/**
 * The last two axes of nested numbers as a grey picture; of several channels the first. Null for fewer axes.
 * `range`: what is black and what is white; without it the least and the greatest number.
 */
export function paintNumbers(row, range) {
  let plane = row;
  while (Array.isArray(plane?.[0]?.[0])) plane = plane[0];
  if (!Array.isArray(plane?.[0])) return null;
  const flat = plane.flat();
  const [low, high] = range ?? spanOf(flat);
  const { canvas, pen } = makeCanvas(plane[0].length, plane.length);
  const pixels = pen.createImageData(canvas.width, canvas.height);
  flat.forEach((value, i) => {
    const level = high > low ? (255 * (value - low)) / (high - low) : 0;
    pixels.data.set([level, level, level, 255], 4 * i);
  });
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

/**
 * The file of a row: of a picture in base64, or of numbers as the model takes them; null for what is no picture.
 * @param {any} row @param {any | null} image how pictures become rows, as the manifest says
 * @returns {Promise<Blob | null>}
 */
export async function fileOfRow(row, image) {
  if (row?.image) return blobOfRow(row);
  return image ? pictureOfNumbers(row, image) : null;
}

/** The least and the greatest of many numbers. */
export function spanOf(numbers) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of numbers) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
