/** The buttons of a form whose answer takes a while: one sends, one stops. */

import { h, replace } from "./dom.js";
import { showError } from "./result.js";

/**
 * One run at a time: a later one gives up the one before, of which nothing is heard any more.
 * @param {string} text of the button that sends
 * @param {HTMLElement} output says what went wrong
 * @returns {{element: HTMLElement, run: (work: (signal: AbortSignal) => Promise<void>,
 *   ended?: (isWhole: boolean) => void) => Promise<void>, end: () => void}}
 *   `ended` is called for the latest run, whether it came to its end or not. `end`: the page is left
 */
export function makeRuns(text, output) {
  const start = h("button", { type: "submit", class: "primary" }, text);
  const stop = h("button", { type: "button", hidden: true, onclick: giveUp }, "Stop");
  let current = null;
  let isOver = false;

  function giveUp() {
    current?.abort();
    start.focus(); // the button that had the focus is gone
  }

  async function run(work, ended = () => undefined) {
    if (isOver) return;
    current?.abort();
    const own = (current = new AbortController());
    stop.hidden = false;
    let fault = null;
    try {
      await work(own.signal);
    } catch (error) {
      fault = error;
      own.abort(); // what else the run has asked
    }
    if (isOver || own !== current) return;
    stop.hidden = true;
    ended(fault === null);
    if (fault?.name === "AbortError") replace(output, h("p", { class: "muted" }, "Stopped."));
    else if (fault) showError(output, fault);
  }

  function end() {
    isOver = true;
    current?.abort();
  }

  return { element: h("div", { class: "row" }, start, stop), run, end };
}
