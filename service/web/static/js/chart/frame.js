/** What all charts share: the figure, its caption with a legend, and its values as a table. */

import { h, replace } from "../dom.js";

const MOST_LINES_OF_TABLE = 500;
/**
 * @typedef {object} Frame
 * @property {HTMLElement} element the figure
 * @property {HTMLElement} body where the drawing goes
 * @property {HTMLElement} readout says the values at the cursor
 * @property {(title: string, keys: {name: string, tone: number, mark: string}[]) => void} caption
 * @property {(head: string[], lines: () => string[][]) => void} table
 */

/**
 * A figure with a caption, a drawing and, on demand, its values as a table.
 * @returns {Frame}
 */
export function makeFrame() {
  const caption = h("figcaption", { class: "chart-caption" });
  const body = h("div", { class: "chart-body" });
  const readout = h("p", { class: "chart-readout", "aria-live": "polite" });
  const table = h("div", { class: "chart-table" });
  const values = h("details", { class: "chart-values" }, h("summary", {}, "Values as a table"), table);
  const element = h("figure", { class: "chart" }, caption, body, readout, values);
  let fill = () => {};
  values.addEventListener("toggle", () => fill());
  return {
    element,
    body,
    readout,
    caption(title, keys) {
      const legend = keys.map(({ name, tone, mark }) =>
        h("li", { class: `chart-key tone-${tone} ${mark}` }, h("span", { "aria-hidden": "true" }), name),
      );
      const list = keys.length ? h("ul", { class: "chart-legend" }, ...legend) : "";
      replace(caption, h("span", { class: "chart-title" }, title), list);
    },
    table(head, lines) {
      values.querySelector("summary").setAttribute("aria-label", `Values as a table: ${head[1] ?? head[0]}`);
      fill = () => values.open && replace(table, makeTable(head, lines()));
      fill();
    },
  };
}

function makeTable(head, lines) {
  const stride = Math.max(1, Math.ceil(lines.length / MOST_LINES_OF_TABLE));
  const shown = stride === 1 ? lines : lines.filter((_, i) => i % stride === 0 || i === lines.length - 1);
  const left = stride === 1 ? "" : h("caption", {}, `One in ${stride} of ${lines.length.toLocaleString("en")} values`);
  return h(
    "table",
    {},
    left,
    h("thead", {}, h("tr", {}, ...head.map((name) => h("th", { scope: "col" }, name)))),
    h(
      "tbody",
      {},
      ...shown.map(([first, ...others]) =>
        h("tr", {}, h("th", { scope: "row" }, first), ...others.map((text) => h("td", {}, text))),
      ),
    ),
  );
}

/**
 * Calls `draw` with the width of the element now, and when it changes.
 * @param {HTMLElement} element
 * @param {(width: number) => void} draw
 */
export function drawToWidth(element, draw) {
  let width = 0;
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now > 0 && now !== width) {
      width = now;
      draw(width);
    }
  }).observe(element);
}
