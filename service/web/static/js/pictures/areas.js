/** The answer of segment: the picture under the colours of its labels, and a legend to switch them. */

import { h } from "../dom.js";
import { slider } from "../fields.js";
import { percent } from "../format.js";
import { colourOf, isSmall, makeCanvas } from "./pictures.js";
import { makeSwatch } from "./boxes.js";

const STRENGTH = 0.55;

/**
 * @param {{width: number, height: number, labels: {label: string, index: number, share: number}[]}} found
 * @param {Uint16Array} pixels the label of each pixel
 */
export function makeSegments(found, pixels, { labels, url }) {
  const { width, height } = found;
  const { canvas, pen } = makeCanvas(width, height);
  canvas.className = "stage-layer";
  canvas.style.opacity = STRENGTH;
  canvas.setAttribute("aria-label", "Areas in the colours of their labels");
  const hidden = new Set();
  const told = tell(found.labels);
  const indices = found.labels.map((one) => one.index);
  const paint = () => paintLabels(pen, pixels, indices.filter((index) => !hidden.has(index)));
  paint();

  const image = h("img", { src: url, alt: "", onerror: () => image.remove() });
  for (const each of [image, canvas]) each.classList.toggle("pixels", isSmall(width, height));
  const under = h("p", { class: "muted pixel-told" }, "Move over the picture to see the label of a pixel.");
  const stage = h("div", { class: "stage", role: "img", "aria-label": told }, image, canvas);
  stage.style.setProperty("--ratio", width / height);
  const point = (event) => {
    const frame = stage.getBoundingClientRect();
    const x = clip(((event.clientX - frame.left) / frame.width) * width, width);
    const y = clip(((event.clientY - frame.top) / frame.height) * height, height);
    under.textContent = `Pixel ${x}, ${y}: ${labels[pixels[y * width + x]]}`;
  };
  stage.addEventListener("pointermove", point);
  stage.addEventListener("pointerdown", point); // a finger touches without moving
  const element = h(
    "div",
    { class: "segments" },
    stage,
    under,
    slider("Strength of the colours", 0, 1, 0.05, STRENGTH, (value) => (canvas.style.opacity = value)).element,
    makeLegend(found.labels, (index, on) => {
      if (on) hidden.delete(index);
      else hidden.add(index);
      paint();
    }),
  );
  return { element, told };
}

function tell(areas) {
  if (!areas.length) return "The model marks nothing in this picture.";
  const parts = areas.slice(0, 6).map(({ label, share }) => `${label} ${percent(share)}`);
  return `Areas, of all pixels: ${parts.join(", ")}${areas.length > 6 ? " and others" : ""}.`;
}

function clip(value, size) {
  return Math.max(0, Math.min(size - 1, Math.floor(value)));
}

function paintLabels(pen, pixels, shown) {
  const { width, height } = pen.canvas;
  const image = pen.createImageData(width, height);
  const colours = new Map(shown.map((index) => [index, [...colourOf(index), 255]]));
  for (let i = 0; i < pixels.length; i += 1) {
    const colour = colours.get(pixels[i]);
    if (colour) image.data.set(colour, 4 * i);
  }
  pen.putImageData(image, 0, 0);
}

/** The labels that there are, each with a switch and its share of the pixels. */
function makeLegend(areas, toggle) {
  const rows = areas.map(({ label, index, share }) => {
    const box = h("input", { type: "checkbox", checked: true, onchange: () => toggle(index, box.checked) });
    const bar = h("span", { class: "share-bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", share);
    const name = h("label", { class: "toggle" }, box, makeSwatch(index), label);
    return h("li", null, name, bar, h("span", null, percent(share)));
  });
  return h("fieldset", { class: "legend" }, h("legend", null, "Labels"), h("ul", null, rows));
}
