/** A row of an answer as something to look at or to hear: a picture, a sound, a curve, or its numbers. */

import { audioOf, blobOfRow } from "../blobs.js";
import { h, svg } from "../dom.js";
import { number } from "../format.js";
import { isSmall, paintNumbers, pictureUrl, sizeOfPng, spanOf } from "../pictures/pictures.js";

const MOST_NUMBERS = 8;

/**
 * @param {any} row `{image}`, `{sound}` or nested numbers
 * @param {string} alt what it is, for people who do not see it
 */
export function showRow(row, alt) {
  if (row?.image) return showPicture(pictureUrl(row.image), alt, ...sizeOfPng(row.image));
  if (row?.sound) return audioOf(blobOfRow(row), alt);
  const painted = paintNumbers(row);
  if (painted) return showPicture(painted.toDataURL(), alt, painted.width, painted.height);
  if (Array.isArray(row) && row.length > MOST_NUMBERS) return drawCurves([{ name: alt, values: row }], alt);
  return h("code", { class: "row-numbers", title: alt }, JSON.stringify(row, shorten));
}

function shorten(_, value) {
  return typeof value === "number" ? Number(number(value).replaceAll(",", "")) : value;
}

/** A picture; a small one shows its pixels as squares. */
export function showPicture(url, alt, width, height) {
  return h("img", { class: isSmall(width, height) ? "row-picture pixels" : "row-picture", src: url, alt });
}

const [WIDE, TALL] = [300, 100];

/** Rows of numbers as curves on one scale. @param {{name: string, values: number[]}[]} curves */
export function drawCurves(curves, alt) {
  const [low, high] = spanOf(curves.flatMap(({ values }) => values));
  const span = high - low || 1;
  const lines = curves.map(({ values }, i) => {
    const step = WIDE / Math.max(1, values.length - 1);
    const height = (value) => (TALL * (1 - (value - low) / span)).toFixed(1);
    const points = values.map((value, x) => `${(x * step).toFixed(1)},${height(value)}`).join(" ");
    return svg("polyline", { class: `curve curve-${i}`, points, "vector-effect": "non-scaling-stroke" });
  });
  const told = `${alt}: from ${number(low)} to ${number(high)}`;
  const keys = curves.length > 1 ? curves.map(({ name }, i) => h("span", { class: `key key-${i}` }, name)) : null;
  const frame = { viewBox: `0 -2 ${WIDE} ${TALL + 4}`, preserveAspectRatio: "none", role: "img", "aria-label": told };
  return h("figure", { class: "curves" }, svg("svg", frame, lines), h("figcaption", null, keys));
}

/** A link that saves a row as a file. Its name tells links of several rows apart. */
export function saveLink(row, name, text = "Save") {
  const [href, kind] = row?.image
    ? [pictureUrl(row.image), "png"]
    : [`data:application/json,${encodeURIComponent(JSON.stringify(row))}`, "json"];
  const download = `${name}.${kind}`;
  return h("a", { class: "save", href, download, "aria-label": `${text}: ${download}` }, text);
}
