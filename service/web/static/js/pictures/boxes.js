/** The answer of detect: the picture with its boxes, labels, points and masks, and a list of them. */

import { h, replace } from "../dom.js";
import { plural } from "../format.js";
import { colourOf, css, inkOn, isSmall, loadImage, makeCanvas, pictureUrl } from "./pictures.js";

const MOST_LISTED = 100;
const MOST_LABELS = 40; // of more boxes the labels would hide the picture

/**
 * Builds the view of an answer once. `show(least)` filters it by the score and returns a sentence about what is left.
 * @param {{width: number, height: number, detections: any[]}} found
 */
export function makeDetections(found, picture) {
  const ones = found.detections.map((one) => makeOne(one, found));
  const hidden = new Set(); // labels that are switched off
  const list = h("div", null);
  const stage = makeStage(found, picture, ones);
  let least = 0;

  function show(score = least) {
    least = score;
    const above = ones.filter(({ one }) => one.score >= least);
    const shown = above.filter(({ one }) => !hidden.has(one.label));
    chips.count(countLabels(above.map(({ one }) => one)));
    for (const each of ones) each.toggle(false);
    for (const each of shown) each.toggle(true, shown.length <= MOST_LABELS);
    replace(list, ...(shown.length ? [makeTable(shown)] : []));
    const told = tell(found.detections, shown.map(({ one }) => one), least);
    stage.setAttribute("aria-label", told);
    return told;
  }

  const chips = makeChips(found.detections, hidden, () => show());
  return { element: h("div", null, stage, chips.element, list), show };
}

function tell(all, shown, least) {
  const score = least.toFixed(2);
  if (!all.length) return "The model found nothing in this picture.";
  if (!shown.length) return `Nothing has a score of ${score} or more. The best has ${all[0].score.toFixed(2)}.`;
  const counts = countLabels(shown);
  const parts = [...counts].slice(0, 8).map(([label, count]) => (count > 1 ? `${label} (${count})` : label));
  const more = counts.size > 8 ? " and others" : "";
  return `${plural(shown.length, "object")} with a score of ${score} or more: ${parts.join(", ")}${more}.`;
}

function countLabels(detections) {
  const counts = new Map();
  for (const { label } of detections) counts.set(label, (counts.get(label) ?? 0) + 1);
  return counts;
}

/** The picture under its masks and boxes, the best on top. A format that the browser cannot show leaves it empty. */
function makeStage({ width, height }, picture, ones) {
  const image = h("img", { src: picture.dataUrl, alt: "", onerror: () => image.remove() });
  if (isSmall(width, height)) image.classList.add("pixels");
  const masks = ones.flatMap((each) => each.mask ?? []);
  const marks = ones.map((each) => each.mark).reverse();
  const stage = h("div", { class: "stage", role: "img" }, image, ...masks, ...marks);
  stage.style.setProperty("--ratio", width / height);
  return stage;
}

/** What belongs to a box: its mark, its mask if it has one, and its row in the list. */
function makeOne(one, size) {
  const { element: mark, name } = makeMark(one, size);
  const mask = one.mask ? makeMask(one, size) : null;
  let pinned = false;
  let labelled = true;
  const light = (on) => {
    mark.classList.toggle("is-lit", on);
    name.hidden = !(on || labelled);
  };
  const press = () => {
    pinned = !pinned;
    light(pinned);
    return pinned;
  };
  const row = makeRow(one, size, { hover: (on) => light(on || pinned), press });
  return {
    one,
    mark,
    mask,
    row,
    toggle(on, withName = true) {
      mark.hidden = !on;
      if (mask) mask.hidden = !on;
      labelled = withName;
      light(pinned);
    },
  };
}

/** A box with its label and points. Its places are in percent, so that it follows the size of the picture. */
function makeMark(one, { width, height }) {
  const [left, top, right, bottom] = one.box;
  const colour = css(colourOf(one.index));
  const name = h("span", { class: "mark-label" }, `${one.label} ${one.score.toFixed(2)}`);
  Object.assign(name.style, { backgroundColor: colour, color: inkOn(colourOf(one.index)) });
  name.classList.toggle("is-inside", top < 0.08 * height);
  name.classList.toggle("is-left", left > 0.7 * width);
  const frame = h("span", { class: "mark-box" }, name);
  place(frame, left / width, top / height);
  frame.style.width = `${(100 * (right - left)) / width}%`;
  frame.style.height = `${(100 * (bottom - top)) / height}%`;
  frame.style.borderColor = colour;
  const points = (one.points ?? []).map((point) => {
    const dot = h("span", { class: "mark-point", title: point.name ?? "" });
    place(dot, point.x / width, point.y / height);
    dot.style.backgroundColor = colour;
    dot.style.opacity = Math.max(0.2, point.score ?? 1);
    return dot;
  });
  return { element: h("div", { class: "mark" }, frame, ...points), name };
}

function place(element, left, top) {
  element.style.left = `${100 * left}%`;
  element.style.top = `${100 * top}%`;
}

/** The mask of a box in the colour of its label. It is painted when its picture has been decoded. */
function makeMask(one, { width, height }) {
  const { canvas, pen } = makeCanvas(width, height);
  canvas.className = "stage-layer";
  canvas.setAttribute("aria-label", `Mask of ${one.label}`);
  loadImage(pictureUrl(one.mask.image)).then((mask) => {
    if (!mask) return;
    const part = makeCanvas(mask.naturalWidth, mask.naturalHeight, true);
    part.pen.drawImage(mask, 0, 0);
    const pixels = part.pen.getImageData(0, 0, part.canvas.width, part.canvas.height);
    const colour = colourOf(one.index);
    for (let i = 0; i < pixels.data.length; i += 4) {
      const inside = pixels.data[i] > 127;
      pixels.data.set([...colour, inside ? 128 : 0], i);
    }
    pen.putImageData(pixels, one.mask.left, one.mask.top);
  });
  return canvas;
}

/** A switch for each label that is found, with how many of its boxes there are; nothing for a single label. */
function makeChips(detections, hidden, changed) {
  const chips = new Map();
  for (const { label, index } of detections) {
    if (chips.has(label)) continue;
    const box = h("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(label);
      else hidden.add(label);
      changed();
    });
    const count = h("span", { class: "muted" });
    chips.set(label, { element: h("label", { class: "toggle" }, box, makeSwatch(index), label, count), count });
  }
  const all = [...chips.values()].map((chip) => chip.element);
  const element = h("fieldset", { class: "toggles" }, h("legend", null, "Labels"), all);
  return {
    element,
    count(counts) {
      element.hidden = counts.size < 2;
      for (const [label, chip] of chips) {
        chip.element.hidden = !counts.has(label);
        chip.count.textContent = `(${counts.get(label) ?? 0})`;
      }
    },
  };
}

/** A spot in the colour of a label. */
export function makeSwatch(index) {
  const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.backgroundColor = css(colourOf(index));
  return swatch;
}

function makeTable(shown) {
  const names = ["Label", "Score", "Left, top", "Size"];
  const head = h("tr", null, names.map((text, i) => h("th", { scope: "col", class: i ? "number" : null }, text)));
  const rows = shown.slice(0, MOST_LISTED).map((each) => each.row);
  const more = shown.length > rows.length ? `The ${rows.length} best of ${shown.length}. ` : "";
  const caption = `${more}Press a label to light up its box. In pixels.`;
  return h(
    "div",
    { class: "scroll" },
    h("table", { class: "found" }, h("caption", null, caption), h("thead", null, head), h("tbody", null, rows)),
  );
}

function makeRow(one, { width, height }, { hover, press }) {
  const [left, top, right, bottom] = one.box;
  const show = (value) => value.toFixed(isSmall(width, height) ? 1 : 0);
  const button = h(
    "button",
    { type: "button", class: "link", "aria-pressed": "false", onclick: () => pressed() },
    makeSwatch(one.index),
    one.label,
  );
  const pressed = () => button.setAttribute("aria-pressed", String(press()));
  return h(
    "tr",
    { onmouseenter: () => hover(true), onmouseleave: () => hover(false) },
    h("th", { scope: "row" }, button),
    h("td", { class: "number" }, one.score.toFixed(2)),
    h("td", { class: "number" }, `${show(left)}, ${show(top)}`),
    h("td", { class: "number" }, `${show(right - left)} × ${show(bottom - top)}`),
  );
}
