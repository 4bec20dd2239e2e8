/** How long a streamed answer took: its first event, and all of it. */

import { h } from "../../dom.js";
import { duration, plural } from "../../format.js";

/** @returns {{note: () => void, describe: () => HTMLElement}} `note` at each event */
export function timeEvents() {
  const began = performance.now();
  let first = null;
  let last = 0;
  let count = 0;
  return {
    note() {
      last = (performance.now() - began) / 1000;
      first ??= last;
      count += 1;
    },
    describe: () =>
      h(
        "p",
        { class: "muted" },
        `The first of ${plural(count, "event")} came after ${duration(first)}, the last after ${duration(last)}.`,
      ),
  };
}
