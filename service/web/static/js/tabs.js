/** Tabs, as the ARIA Authoring Practices describe them: arrow keys, Home and End move, one tab stop. */

import { h, replace, uniqueId } from "./dom.js";

/**
 * @param {string} label what the tabs choose, for screen readers
 * @param {{title: string, show: (panel: HTMLElement) => void}[]} entries `show` fills the panel when its tab is chosen
 * @param {number} [first] the tab that is open
 * @returns {{element: HTMLElement, choose: (index: number) => void}}
 */
export function tabs(label, entries, first = 0) {
  const panel = h("div", { role: "tabpanel", id: uniqueId("panel"), class: "tab-panel", tabindex: "0" });
  const buttons = entries.map(({ title }, i) =>
    h(
      "button",
      { type: "button", role: "tab", id: uniqueId("tab"), "aria-controls": panel.id, onclick: () => choose(i) },
      title,
    ),
  );

  function choose(index) {
    buttons.forEach((button, i) => {
      button.setAttribute("aria-selected", String(i === index));
      button.tabIndex = i === index ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", buttons[index].id);
    replace(panel);
    entries[index].show(panel);
  }

  function move(event) {
    const at = buttons.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = (to + buttons.length) % buttons.length;
    choose(next);
    buttons[next].focus();
  }

  choose(first);
  const list = h("div", { role: "tablist", "aria-label": label, class: "tabs", onkeydown: move }, buttons);
  return { element: h("div", { class: "tabbed" }, list, panel), choose };
}
