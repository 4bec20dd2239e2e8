/** Rows to numbers: a form made from the columns, and the number or numbers. */

import { exampleButtons, makeBench } from "../bench.js";
import { h, replace } from "../dom.js";
import { number } from "../format.js";
import { rowInput } from "../rowinput.js";

/** @type {import("./index.js").Workbench["mount"]} */
export function mount(parent, model, server) {
  const rows = rowInput(model, { onRows: ask, action: "Estimate" });
  const examples = exampleButtons(server, model, "regress", ({ body }) => rows.setRows(body.inputs));
  const bench = makeBench(parent, [rows.element, examples], "The estimate comes here.");

  function ask(inputs) {
    bench.run(async (signal) => {
      const answer = await server.ask("regress", { model: model.name, inputs }, { signal });
      const { predictions, unit } = answer.json;
      replace(bench.output, predictions.map((each) => showPrediction(each, unit)));
      bench.say(predictions.map(({ value }) => (value === undefined ? "" : `${number(value)} ${unit ?? ""}`)).join("; "));
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

function showPrediction({ value, values }, unit) {
  const suffix = unit ? h("small", null, unit) : null;
  if (values === undefined) return h("p", { class: "answer-value" }, number(value), suffix);
  const lines = Object.entries(values).map(([name, each]) =>
    h("tr", null, h("th", { scope: "row" }, name), h("td", { class: "number" }, number(each), " ", unit ?? "")),
  );
  return h("table", null, lines);
}
