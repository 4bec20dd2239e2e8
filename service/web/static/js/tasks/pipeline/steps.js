/** The steps of a pipeline: what they do, which have ended, and how long each took. */

import { barChart, showSeconds } from "../../chart.js";
import { h, replace } from "../../dom.js";
import { plural } from "../../format.js";

const WAITING = "waits";

/**
 * @param {{steps: Record<string, any>, outputs: Record<string, string>}} pipeline
 * @returns {{element: HTMLElement, begin: () => void, end: (step: string, rows: number) => void,
 *   fail: () => void, finish: (timings: Record<string, any>) => void}}
 */
export function stepList({ steps, outputs }) {
  const lines = new Map(Object.entries(steps).map(([name, step]) => [name, stepLine(name, step)]));
  const outs = Object.entries(outputs).map(([name, wire]) =>
    h("li", null, h("strong", null, name), " is ", h("code", null, wire)),
  );
  const times = h("div");
  let chart;
  return {
    element: h(
      "div",
      null,
      h(
        "ol",
        { class: "steps" },
        [...lines.values()].map(({ element }) => element),
      ),
      h("details", null, h("summary", null, "What it answers"), h("ul", null, outs)),
      times,
    ),
    begin: () => lines.forEach((line) => line.mark("", WAITING)),
    end: (name, rows) => lines.get(name)?.mark("done", plural(rows, "row")),
    fail: () => lines.forEach((line) => line.state.textContent === WAITING && line.mark("", "did not end")),
    finish(timings) {
      for (const [name, { rows }] of Object.entries(timings ?? {}))
        lines.get(name)?.mark("done", rows ? plural(rows, "row") : "not needed");
      if (!timings) return;
      const options = describeTimes(timings);
      if (chart) chart.update(options);
      else {
        chart = barChart(options);
        replace(times, chart.element);
      }
    },
  };
}

function stepLine(name, step) {
  const state = h("small", { class: "muted" });
  const element = h(
    "li",
    { dataset: { step: name } },
    h("div", { class: "step-name" }, h("strong", null, name), h("span", { class: "muted" }, ` ${describeStep(step)}`)),
    state,
  );
  return {
    ...{ element, state },
    mark(kind, text) {
      element.className = kind;
      replace(state, text);
    },
  };
}

function describeStep({ model, version, task, do: operation, each, input, when, picture, boxes, vectors, others }) {
  const words = model ? [`${task} by ${model}${version ? ` ${version}` : ""}`] : [operation];
  if (each) words.push(`for each of ${each}`);
  else if (typeof input === "string") words.push(`from ${input}`);
  else if (input) words.push(`from ${Object.values(input).join(", ")}`);
  if (picture) words.push(`out of ${picture} at ${boxes}`);
  if (vectors) words.push(`${vectors} with ${others}`);
  if (when) words.push(`if ${when}`);
  return words.join(", ");
}

/** What is neither the queue nor the run of a step: reading, scaling, writing. */
function describeTimes(timings) {
  const bars = Object.entries(timings).map(([name, { queue_s: queue, compute_s: compute, total_s: total }]) => ({
    name,
    note: showSeconds(total),
    parts: [
      { name: "compute", value: compute },
      { name: "queue", value: queue },
      { name: "reading and writing", value: Math.max(0, total - queue - compute) },
    ],
  }));
  return { title: "Time of each step", bars, show: showSeconds, nameOfBars: "Step" };
}
