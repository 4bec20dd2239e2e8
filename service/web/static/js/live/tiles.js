/** The figures of the last seconds, in large letters. */

import { showBytes, showNumber, showSeconds } from "../chart.js";
import { h, replace } from "../dom.js";
import { plural } from "../format.js";

/** A rate or a duration that is not known yet. */
const NOTHING = "–";

/** @returns {{element: HTMLElement, update: (figures: any, point: any) => void}} */
export function makeTiles() {
  const element = h("dl", { class: "tiles" });
  return {
    element,
    update(figures, point) {
      const tiles = [
        ["Requests", perSecond(figures.answered), "answered a second"],
        ["Failed", perSecond(figures.failed), "refused or failed a second", figures.failed > 0 ? "bad" : ""],
        ["p50", seconds(figures.p50), "half of the answers took at most this"],
        ["p99", seconds(figures.p99), "99 of 100 answers took at most this"],
        ["Queue", seconds(figures.queue_s), "a request waits, on average"],
        ["Compute", seconds(figures.compute_s), "a batch runs, on average"],
        ["Waiting", figures.waiting === null ? NOTHING : showNumber(figures.waiting), "rows in the queue now"],
        [
          "Batch",
          figures.batchRows === null ? NOTHING : showNumber(Number(figures.batchRows.toPrecision(3))),
          "rows, on average",
        ],
        ["Memory", point?.memory ? showBytes(point.memory) : NOTHING, memoryNote(point)],
        ...(figures.streams ? [["Streams", showNumber(figures.streams), "are open"]] : []),
      ];
      replace(
        element,
        ...tiles.map(([name, value, note, mark = ""]) =>
          h(
            "div",
            { class: `tile ${mark}` },
            h("dt", null, name),
            h("dd", null, h("strong", null, value), h("small", null, note)),
          ),
        ),
      );
    },
  };
}

function memoryNote(point) {
  if (!point?.workers) return "of all workers";
  return `of ${plural(point.workers, "worker")}`;
}

export function perSecond(rate) {
  return rate === null ? NOTHING : showNumber(Number(rate.toPrecision(3)));
}

export function seconds(value) {
  return value === null ? NOTHING : showSeconds(value);
}
