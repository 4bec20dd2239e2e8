/** What all charts share: the figure, its caption with a legend, and its values as a table. */

import { h, replace } from "../dom.js";
import { makeTable } from "../table.js";

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
      fill = () => values.open && replace(table, tableOf(head, lines()));
      fill();
    },
  };
}

/** Of many lines, some. */
function tableOf(head, lines) {
  const stride = Math.max(1, Math.ceil(lines.length / MOST_LINES_OF_TABLE));
  if (stride === 1) return makeTable(head, lines);
  const shown = lines.filter((_, i) => i % stride === 0 || i === lines.length - 1);
  return makeTable(head, shown, `One in ${stride} of ${lines.length.toLocaleString("en")} values`);
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
