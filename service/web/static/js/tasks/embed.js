/** embed: how similar rows are to each other, as a heat map with numbers. */

import { exampleButtons } from "../bench.js";
import { h, replace } from "../dom.js";
import { select } from "../fields.js";
import { makeFormBench } from "../form_bench.js";
import { number, plural } from "../format.js";
import { makeRowList, showItem } from "../rows/list.js";

/** @type {import("./index.js").Workbench["mount"]} */
export function mount(parent, model, server) {
  const facts = model.details?.embedding ?? {};
  const lengths = facts.dimensions ?? [];
  const all = { value: "", label: "all" };
  const choices = [all, ...lengths.map(String)];
  const size = lengths.length ? select("Length of the vectors", choices, () => bench.run()) : null;
  let bench = null;
  const list = makeRowList(model, () => bench?.run());
  const examples = exampleButtons({ getExamples: joinExamples(server) }, model, "embed", async ({ body }) => {
    await list.set(body.inputs);
    bench.run();
  });
  bench = makeFormBench(parent, {
    fields: [list.element, size?.element],
    examples,
    runText: "Compare",
    hint: "Give two rows or more. Each is compared with each.",
    work,
  });

  async function work(signal, outcome) {
    const items = list.items();
    if (items.length < 2) {
      bench.clear();
      return null;
    }
    const rows = items.map((item) => item.row);
    const body = { model: model.name, inputs: rows, compare: rows };
    if (size?.value) body.dimensions = Number(size.value);
    const answer = await server.ask("embed", body, { signal });
    const { predictions } = answer.json;
    replace(outcome, makeHeatMap(items, predictions, facts));
    return { answer, told: tell(items, predictions) };
  }

  return {
    unmount() {
      list.destroy();
      bench.unmount();
    },
  };
}

/** All rows of the examples as one, because there is nothing to see in a single row. */
function joinExamples(server) {
  return async (...asked) => {
    const examples = await server.getExamples(...asked);
    const rows = examples.flatMap(({ body }) => [...body.inputs, ...(body.compare ?? [])]);
    const different = [...new Map(rows.map((row) => [JSON.stringify(row), row])).values()];
    if (different.length < 2) return [];
    return [{ title: `${plural(different.length, "row")} of examples`, body: { inputs: different } }];
  };
}

const valueOf = (comparison) => comparison.similarity ?? comparison.distance;

/** The pair that has most in common, in a sentence. */
function tell(items, predictions) {
  const size = predictions[0].embedding.length;
  const isDistance = predictions[0].comparisons[0].distance !== undefined;
  let best = null;
  predictions.forEach(({ comparisons }, i) => {
    for (let j = i + 1; j < items.length; j += 1) {
      const value = valueOf(comparisons[j]);
      if (best === null || (isDistance ? value < best.value : value > best.value)) best = { i, j, value };
    }
  });
  const names = [items[best.i], items[best.j]].map(({ name }) => (name.length > 40 ? `${name.slice(0, 40)}…` : name));
  const measure = isDistance ? "distance" : "cosine";
  return `Most alike: ${names.join(" and ")}, ${measure} ${number(best.value)}. Vectors of ${plural(size, "number")}.`;
}

/** A table of all pairs. The stronger the colour, the more they have in common. */
function makeHeatMap(items, predictions, facts) {
  const isDistance = facts.metric === "euclidean";
  const values = predictions.flatMap(({ comparisons }) => comparisons.map(valueOf));
  const [low, high] = [Math.min(0, ...values), Math.max(isDistance ? 1e-9 : 1, ...values)];
  const heat = (value) => (isDistance ? 1 - value / high : (value - low) / (high - low));
  const head = items.map((item) => h("th", { scope: "col" }, showItem(item)));
  const rows = predictions.map(({ comparisons }, i) => {
    const cells = comparisons.map((each, j) => makeCell(each, heat, i === j));
    return h("tr", null, h("th", { scope: "row" }, showItem(items[i])), cells);
  });
  return h(
    "div",
    { class: "scroll pairs", tabindex: "0", role: "region", "aria-label": "Comparison of all pairs" },
    h("p", { class: "muted" }, describe(facts, isDistance)),
    h(
      "table",
      { class: "heat-map" },
      h("thead", null, h("tr", null, h("td", null), head)),
      h("tbody", null, rows),
    ),
  );
}

function describe({ threshold }, isDistance) {
  const what = isDistance ? "Distances: 0 is the same." : "Cosines: 1 is the same direction.";
  if (threshold === null || threshold === undefined) return what;
  const verdict = isDistance ? `up to ${number(threshold)}` : `from ${number(threshold)} on`;
  return `${what} The model calls two rows the same ${verdict}: ✓.`;
}

function makeCell(comparison, heat, isDiagonal) {
  const value = valueOf(comparison);
  const share = Math.max(0, Math.min(1, heat(value)));
  if (isDiagonal) return h("td", { class: "is-self" }, value.toFixed(2));
  const same = [h("span", { "aria-hidden": "true" }, " ✓"), h("span", { class: "visually-hidden" }, " same")];
  const style = { "--heat": `${Math.round(100 * share)}%` };
  return h("td", { style }, value.toFixed(2), comparison.same ? same : null);
}
