/** The workbench of a pipeline: a picture, or another row, through its steps; the answer, and the time of each step. */

import { getModels } from "../api.js";
import { exampleButtons } from "../bench.js";
import { h, replace } from "../dom.js";
import { showAnswer, showError } from "../result.js";
import { readFields, rowFields } from "./pipeline/fields.js";
import { showOutputs } from "./pipeline/outputs.js";
import { stepList } from "./pipeline/steps.js";

export const title = "Pipeline";
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
    this.button = h("button", { type: "submit", class: "primary" }, "Send through");
    this.stop = h("button", { type: "button", hidden: true, onclick: () => this.controller?.abort() }, "Stop");
    this.found = h("div", { class: "pipeline-answer" });
    this.said = h("p", { role: "status", class: "visually-hidden" });
    this.output = h("div", { class: "answer" }, h("p", { class: "muted" }, "The answer stands here."));
    const form = h(
      "form",
      { class: "card", onsubmit: (event) => this.submit(event), novalidate: true },
      h("h2", null, "Request"),
      this.place,
      h("div", { class: "row" }, this.button, this.stop),
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
    this.fields = rowFields(readFields(this.model.pipeline, cards), () => this.runIfWhole());
    replace(this.place, this.fields.element);
    replace(
      this.examples,
      exampleButtons(this.server, this.model, ROUTE, ({ body }) => this.useExample(body)),
    );
  }

  async useExample(body) {
    this.isFilling = true;
    await this.fields.set(body.inputs[0]);
    this.isFilling = false;
    this.run();
  }

  runIfWhole() {
    if (!this.isFilling && this.fields && !this.fields.fault()) this.run();
  }

  submit(event) {
    event.preventDefault();
    this.run();
  }

  async run() {
    const fault = this.fields ? this.fields.fault() : "The form is not there yet.";
    if (fault) {
      showError(this.output, new Error(fault));
      return;
    }
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    this.stop.hidden = false;
    this.steps.begin();
    replace(this.output, h("p", { class: "muted" }, "On its way…"));
    try {
      const body = { model: this.model.name, inputs: [await this.fields.row()], timings: true, stream: true };
      await this.follow(body, controller.signal);
    } catch (error) {
      this.steps.fail();
      if (error.name !== "AbortError") showError(this.output, error);
      else if (this.controller === controller) replace(this.output, h("p", { class: "muted" }, "Stopped."));
    } finally {
      if (this.controller === controller) this.stop.hidden = true;
    }
  }

  async follow(body, signal) {
    for await (const { event, data } of this.server.stream(ROUTE, body, { signal })) {
      if (event !== "done") {
        this.steps.end(data.step, data.rows);
        continue;
      }
      const [prediction] = data.predictions;
      this.steps.finish(data.timings);
      replace(this.found, showOutputs(prediction, this.fields.pictures()));
      replace(this.said, `The pipeline answered ${Object.keys(prediction).join(", ")}.`);
      const request = { route: `/${ROUTE}`, body, accept: "application/json" };
      showAnswer(this.output, { request });
    }
  }

  end() {
    this.controller?.abort();
    this.fields?.destroy();
  }
}
