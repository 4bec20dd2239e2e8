/** Rows to labels: probabilities as bars, and why, as a heat map over the picture. */

import { exampleButtons, makeBench } from "../bench.js";
import { h, replace } from "../dom.js";
import { select, slider } from "../fields.js";
import { percent } from "../format.js";
import { pictureUrl } from "../pictures/pictures.js";
import { rowInput } from "../rowinput.js";

const METHODS = {
  "": "No explanation",
  saliency: "Saliency: the gradient",
  integrated_gradients: "Integrated gradients",
  occlusion: "Occlusion: hide one part after the other",
};

/** @type {import("./index.js").Workbench["mount"]} */
export function mount(parent, model, server) {
  const rows = rowInput(model, { onRows: ask, action: "Classify" });
  const again = () => rows.rows && ask(rows.rows);
  const count = model.labels?.length ?? 0;
  const top = count > 1 ? slider("Labels shown", 1, Math.min(count, 20), 1, Math.min(count, 5), again) : null;
  const why = explains(model) ? select("Explanation", methodsOf(model), again) : null;
  const examples = exampleButtons(server, model, "classify", useExample);
  const options = h("div", { class: "field-grid" }, top?.element, why?.element);
  const bench = makeBench(parent, [rows.element, options, examples], "The labels and their probabilities come here.");

  function useExample({ body }) {
    if (top && body.top_k) top.value = body.top_k;
    if (why) why.value = typeof body.explain === "string" ? body.explain : "";
    rows.setRows(body.inputs);
  }

  function ask(inputs) {
    const body = { model: model.name, inputs };
    if (top) body.top_k = top.value;
    if (why?.value) Object.assign(body, { explain: why.value, explanation_format: isPicture(model) ? "picture" : "numbers" });
    bench.run(async (signal) => {
      const answer = await server.ask("classify", body, { signal });
      const { predictions } = answer.json;
      replace(bench.output, predictions.map((each, i) => showPrediction(each, predictions.length > 1 ? inputs[i] : null, model)));
      bench.say(predictions.map((each) => (each.label ? `${each.label}, ${percent(each.probability)}` : "")).join("; "));
      return answer;
    });
  }

  return {
    unmount() {
      bench.stop();
      rows.destroy();
    },
  };
}

function isPicture(model) {
  return model.details?.image?.graph === "main";
}

/** Explanations need one input of numbers; texts have none. */
function explains(model) {
  return !model.details?.tokens && model.inputs?.length === 1 && /FP|BF|INT/.test(model.inputs[0].datatype);
}

/** Without a graph of gradients there is only occlusion. */
function methodsOf(model) {
  const hasGradients = model.graphs?.includes("explain");
  return Object.entries(METHODS)
    .filter(([value]) => hasGradients || value === "" || value === "occlusion")
    .map(([value, label]) => ({ value, label }));
}

function showPrediction(prediction, row, model) {
  const name = typeof row === "string" ? h("h3", { class: "row-name" }, row) : null;
  if (prediction.spans) return h("div", { class: "prediction" }, name, showSpans(prediction.spans));
  const bars = prediction.top.map(({ label, probability }) => bar(label, probability, percent(probability)));
  return h(
    "div",
    { class: "prediction" },
    name,
    h("p", { class: "answer-value" }, prediction.label, h("small", null, percent(prediction.probability))),
    h("ul", { class: "bars", "aria-label": "Probabilities" }, bars),
    prediction.labels ? h("p", null, `Labels of this row: ${prediction.labels.map((each) => each.label).join(", ") || "none"}`) : null,
    prediction.score === undefined ? null : h("p", null, `Score: ${prediction.score}`),
    prediction.explanation ? explanation(prediction, model) : null,
  );
}

/** A line with a bar. @param {number} share 0 to 1 @param {string} [kind] "against" for another colour */
function bar(name, share, value, kind = "") {
  const fill = h("span", { class: `bar-fill ${kind}`, style: { width: `${share * 100}%` } });
  return h(
    "li",
    null,
    h("span", { class: "bar-name" }, name),
    h("span", { class: "bar-track", "aria-hidden": "true" }, fill),
    h("span", { class: "bar-value" }, value),
  );
}

function explanation({ label, explanation: found }, model) {
  const what = `Where the model looks to say ${label}`;
  if (found.image) {
    const caption = `${what}: orange parts speak for it, blue parts against it.`;
    const heat = h("img", { class: "heat", src: pictureUrl(found.image), alt: caption });
    return h("figure", { class: "explanation" }, heat, h("figcaption", null, caption));
  }
  const names = model.details?.table?.columns.map(({ name }) => name) ?? [];
  const most = Math.max(...found.values.map(Math.abs), 1e-12);
  const order = found.values.map((value, i) => [value, names[i] ?? `value ${i}`]).sort(([a], [b]) => Math.abs(b) - Math.abs(a));
  const lines = order.slice(0, 20).map(([value, name]) =>
    bar(name, Math.abs(value) / most, value.toPrecision(2), value < 0 ? "against" : ""),
  );
  return h("div", null, h("h3", null, what), h("ul", { class: "bars" }, lines));
}

function showSpans(spans) {
  if (!spans.length) return h("p", { class: "muted" }, "Nothing was found in this text.");
  const lines = spans.map((span) =>
    h("tr", null, h("td", null, span.text ?? ""), h("td", null, span.label), h("td", { class: "number" }, percent(span.probability ?? 0))),
  );
  const head = ["Part", "Label", "Probability"].map((name, i) => h("th", { scope: "col", class: i === 2 ? "number" : null }, name));
  return h("table", null, h("thead", null, h("tr", null, head)), h("tbody", null, lines));
}
