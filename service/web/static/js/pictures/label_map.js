/** A label for each pixel: out of the picture or the numbers that segment answers. */

import { fromBase64 } from "../blobs.js";
import { loadImage, makeCanvas, pictureUrl } from "./pictures.js";

const SIGNATURE = 8; // bytes before the first chunk of a PNG

/**
 * The positions of labels, line by line. A picture has a palette, and a pixel of label i the colour i of it.
 * @param {{image: string} | number[][]} mask
 * @returns {Promise<Uint16Array>}
 */
export async function readLabels(mask, width, height) {
  if (Array.isArray(mask)) return Uint16Array.from(mask.flat());
  const palette = readPalette(fromBase64(mask.image));
  const image = await loadImage(pictureUrl(mask.image));
  const { pen } = makeCanvas(width, height, true);
  pen.drawImage(image, 0, 0);
  const { data } = pen.getImageData(0, 0, width, height);
  const labels = new Uint16Array(width * height);
  for (let i = 0; i < labels.length; i += 1) {
    labels[i] = palette.get(keyOf(data[4 * i], data[4 * i + 1], data[4 * i + 2])) ?? 0;
  }
  return labels;
}

/** Colour -> its first place in the palette of a PNG. Specification: W3C PNG, "PLTE". */
function readPalette(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const places = new Map();
  for (let at = SIGNATURE; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (name === "PLTE") {
      for (let i = 0; 3 * i < length; i += 1) {
        const key = keyOf(...bytes.subarray(at + 8 + 3 * i, at + 11 + 3 * i));
        if (!places.has(key)) places.set(key, i);
      }
      return places;
    }
    at += length + 12;
  }
  return places;
}

function keyOf(red, green, blue) {
  return (red << 16) | (green << 8) | blue;
}
