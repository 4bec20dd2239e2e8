/** Tables of texts or elements. */

import { h } from "./dom.js";

/**
 * @param {any[]} head the names of the columns
 * @param {any[][]} lines their cells; the first is the name of the line
 * @param {string} [caption]
 * @returns {HTMLElement}
 */
export function makeTable(head, lines, caption) {
  const names = head.map((name) => h("th", { scope: "col" }, name));
  const rows = lines.map(([first, ...others]) => {
    const cells = others.map((each) => h("td", null, each));
    return h("tr", null, h("th", { scope: "row" }, first), cells);
  });
  const title = caption ? h("caption", null, caption) : null;
  return h("table", null, title, h("thead", null, h("tr", null, names)), h("tbody", null, rows));
}
