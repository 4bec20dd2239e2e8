/** The workbench of a pipeline: a picture, or another row, through its steps; the answer, and the time of each step. */

import { getModels } from "../api.js";
import { exampleButtons } from "../bench.js";
import { h, replace } from "../dom.js";
import { showAnswer, showError } from "../result.js";
import { makeRuns } from "../runs.js";
import { readFields, rowFields } from "./pipeline/fields.js";
import { showOutputs } from "./pipeline/outputs.js";
import { stepList } from "./pipeline/steps.js";

const ROUTE = "pipeline";

/** @type {import("./index.js").Workbench["mount"]} */
export function mount(parent, model, server) {
  const bench = new PipelineBench(model, server);
  replace(parent, bench.element);
  bench.load();
  return { unmount: () => bench.end() };
}

class PipelineBench {
  constructor(model, server) {
    Object.assign(this, { model, server });
    this.steps = stepList(model.pipeline);
    this.place = h("div");
    this.examples = h("div");
    this.found = h("div", { class: "pipeline-answer" });
    this.said = h("p", { role: "status", class: "visually-hidden" });
    this.output = h("div", { class: "answer" }, h("p", { class: "muted" }, "The answer stands here."));
    this.runs = makeRuns("Send through", this.output);
    const form = h(
      "form",
      { class: "card", onsubmit: (event) => this.submit(event), novalidate: true },
      h("h2", null, "Request"),
      this.place,
      this.runs.element,
      this.examples,
    );
    this.element = h(
      "div",
      { class: "columns" },
      h("div", { class: "stack" }, form, h("div", { class: "card" }, h("h2", null, "Steps"), this.steps.element)),
      h("div", { class: "card" }, h("h2", null, "Answer"), this.found, this.said, this.output),
    );
  }

  /** The fields of a row depend on the models of the steps, whose cards are asked for. */
  async load() {
    const cards = await getModels().catch(() => []);
    if (this.isOver) return;
    this.fields = rowFields(readFields(this.model.pipeline, cards), () => this.runIfWhole());
    replace(this.place, this.fields.element);
    replace(
      this.examples,
      exampleButtons(this.server, this.model, ROUTE, ({ body }) => this.useExample(body)),
    );
  }

  async useExample(body) {
    this.isFilling = true;
    try {
      await this.fields.set(body.inputs[0]);
    } finally {
      this.isFilling = false;
    }
    this.run();
  }

  runIfWhole() {
    if (!this.isFilling && this.fields && !this.fields.fault()) this.run();
  }

  submit(event) {
    event.preventDefault();
    this.run();
  }

  run() {
    const fault = this.fields ? this.fields.fault() : "The form is not there yet.";
    if (fault) {
      showError(this.output, new Error(fault));
      return;
    }
    this.steps.begin();
    replace(this.output, h("p", { class: "muted" }, "On its way…"));
    const work = async (signal) => {
      const body = { model: this.model.name, inputs: [await this.fields.row()], timings: true, stream: true };
      await this.follow(body, signal);
    };
    this.runs.run(work, (isWhole) => isWhole || this.steps.fail());
  }

  async follow(body, signal) {
    for await (const { event, data, answer } of this.server.stream(ROUTE, body, { signal })) {
      if (event !== "done") {
        this.steps.end(data.step, data.rows);
        continue;
      }
      const [prediction] = data.predictions;
      this.steps.finish(data.timings);
      replace(this.found, showOutputs(prediction, this.fields.pictures()));
      replace(this.said, `The pipeline answered ${Object.keys(prediction).join(", ")}.`);
      const request = { route: `/${ROUTE}`, body, accept: "application/json" };
      showAnswer(this.output, { request, answer });
    }
  }

  end() {
    this.isOver = true;
    this.runs.end();
    this.fields?.destroy();
  }
}
