/** The outputs of a pipeline: boxes over the picture, a line for each element of lists, cut pictures, other values. */

import { h, svg } from "../../dom.js";
import { number, plural } from "../../format.js";
import { pictureUrl } from "../../pictures/pictures.js";
import { makeTable } from "../../table.js";

const MOST = 200;

/**
 * @param {Record<string, any>} prediction output -> value
 * @param {{dataUrl: string, width: number, height: number}[]} pictures of the request
 * @returns {HTMLElement}
 */
export function showOutputs(prediction, pictures) {
  const outputs = Object.entries(prediction);
  const boxes = outputs.filter(([, value]) => isBoxes(value));
  const [picture] = pictures;
  const lists = outputs.filter(([, value]) => Array.isArray(value) && value.length);
  const count = lists[0]?.[1].length;
  const areAlike = lists.length > 1 && lists.every(([, value]) => value.length === count);
  const others = outputs.filter((output) => !areAlike || !lists.includes(output));
  return h(
    "div",
    { class: "outputs" },
    picture?.width && boxes.length ? drawBoxes(picture, boxes[0][1], labelsOf(lists, boxes[0][0])) : null,
    areAlike ? showTable(lists, count) : null,
    others.length
      ? h(
          "dl",
          null,
          others.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, showValue(value)))),
        )
      : null,
  );
}

/** [[left, top, right, bottom], …] */
function isBoxes(value) {
  const isBox = (each) => Array.isArray(each) && each.length === 4 && each.every((side) => typeof side === "number");
  return Array.isArray(value) && value.length > 0 && value.every(isBox);
}

/** The texts of the last list of texts: what was said last about each box. */
function labelsOf(lists, boxes) {
  const texts = lists.filter(
    ([name, value]) => name !== boxes && value.every((each) => typeof each === "string" || each === null),
  );
  return texts.at(-1)?.[1] ?? [];
}

function drawBoxes({ dataUrl, width, height }, boxes, labels) {
  const shapes = boxes.slice(0, MOST).flatMap(([left, top, right, bottom], i) => [
    svg(
      "rect",
      {
        class: "box",
        x: left,
        y: top,
        width: Math.max(0, right - left),
        height: Math.max(0, bottom - top),
        "vector-effect": "non-scaling-stroke",
      },
      svg("title", null, labels[i] ?? `box ${i + 1}`),
    ),
  ]);
  const marks = boxes
    .slice(0, MOST)
    .map(([left, top], i) =>
      h(
        "span",
        { style: { left: `${(Math.max(0, left) / width) * 100}%`, top: `${(Math.max(0, top) / height) * 100}%` } },
        labels[i] ?? i + 1,
      ),
    );
  return h(
    "figure",
    { class: "boxed" },
    h(
      "div",
      { class: "boxed-picture" },
      h("img", { src: dataUrl, alt: "The picture of the request", class: width < 64 ? "pixelated" : null }),
      svg(
        "svg",
        {
          viewBox: `0 0 ${width} ${height}`,
          preserveAspectRatio: "none",
          role: "img",
          "aria-label": plural(boxes.length, "box", "boxes"),
        },
        shapes,
      ),
      h("div", { class: "marks", "aria-hidden": "true" }, marks),
    ),
    h("figcaption", null, `${plural(boxes.length, "box", "boxes")} in the picture`),
  );
}

/** Lists of one length belong together: a line for each element. */
function showTable(lists, count) {
  const head = ["#", ...lists.map(([name]) => name)];
  const lines = Array.from({ length: Math.min(count, MOST) }, (_, i) => [
    i + 1,
    ...lists.map(([, value]) => showValue(value[i])),
  ]);
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "The answer as a table" },
    makeTable(head, lines),
    count > MOST ? h("p", { class: "muted" }, `The first ${MOST} of ${count}.`) : null,
  );
}

function showValue(value) {
  if (value === null || value === undefined) return h("span", { class: "muted" }, "none");
  if (typeof value === "number") return number(value);
  if (typeof value !== "object") return String(value);
  if (typeof value.image === "string")
    return h("img", { class: "cut", src: pictureUrl(value.image), alt: "A part of the picture" });
  if (Array.isArray(value) && value.every((each) => typeof each === "number")) {
    return value.length > 12
      ? `${value.length} numbers: ${value.slice(0, 4).map(number).join(", ")}, …`
      : value.map(number).join(", ");
  }
  if (Array.isArray(value))
    return value.length
      ? h(
          "ul",
          null,
          value.slice(0, MOST).map((each) => h("li", null, showValue(each))),
        )
      : h("span", { class: "muted" }, "none");
  return h(
    "dl",
    null,
    Object.entries(value).map(([name, each]) => h("div", null, h("dt", null, name), h("dd", null, showValue(each)))),
  );
}
