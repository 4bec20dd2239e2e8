/** The workbench of a model that forecasts: a series in, its future as a chart out. */

import { exampleButtons } from "../../bench.js";
import { h, replace } from "../../dom.js";
import { checkbox, numberInput, select, slider } from "../../fields.js";
import { codeBlock, showAnswer, showError } from "../../result.js";
import { makeRuns } from "../../runs.js";
import { describeForecast, isCut, makeForecastChart, writeCsv } from "./forecast_chart.js";
import { timeEvents } from "./event_times.js";
import { seriesInput } from "./series_input.js";

const ROUTE = "predict_sequence";
const MOST_STEPS = 1000;
const INTERVALS = [
  ["none", "none"],
  ["0.1,0.9", "80 %"],
  ["0.05,0.95", "90 %"],
  ["0.05,0.25,0.75,0.95", "50 % and 90 %"],
  ["0.005,0.995", "99 %"],
];

export function mountSeries(parent, model, server) {
  const bench = new SeriesBench(model, server);
  replace(parent, bench.element);
  return { unmount: () => bench.runs.end() };
}

class SeriesBench {
  constructor(model, server) {
    Object.assign(this, { model, server });
    const { forecast, loop } = model.details;
    this.facts = forecast;
    this.most = forecast.horizon ?? Math.min(loop?.max_steps ?? MOST_STEPS, MOST_STEPS);
    this.input = seriesInput({
      least: forecast.least_history,
      most: forecast.max_history,
      onChange: () => this.showHistory(),
    });
    this.fields = this.makeFields(loop);
    this.further = new Map(
      this.findFurther().map((tensor) => [
        tensor.name,
        numberInput({ label: tensor.name, step: tensor.datatype.startsWith("FP") ? "any" : 1 }),
      ]),
    );
    this.whole = checkbox("Show all of the history", false, () => this.draw());
    this.chart = makeForecastChart();
    this.output = h("div", { class: "answer", "aria-busy": "false" });
    this.runs = makeRuns("Forecast", this.output);
    this.said = h("p", { role: "status", class: "visually-hidden" });
    this.element = h("div", { class: "columns" }, this.layInput(), this.layAnswer());
  }

  layInput() {
    const elements = (fields) => [...fields].map(({ element }) => element);
    return h(
      "form",
      { class: "card", onsubmit: (event) => this.submit(event), novalidate: true },
      h("h2", null, "Series"),
      this.input.element,
      h("div", { class: "field-grid" }, elements(this.further.values())),
      h("div", { class: "field-grid" }, elements(Object.values(this.fields))),
      this.runs.element,
      exampleButtons(this.server, this.model, ROUTE, ({ body }) => this.useExample(body)),
    );
  }

  layAnswer() {
    const parts = [this.chart.element, this.whole.element, this.said, this.output];
    return h("div", { class: "card" }, h("h2", null, "Forecast"), parts);
  }

  makeFields(loop) {
    const { horizon, quantiles, noise } = this.facts;
    const fields = {
      horizon: slider("Steps ahead", 1, Math.min(this.most, 100), 1, Math.min(horizon ?? 12, this.most)),
    };
    if (this.most > 100)
      fields.horizon = numberInput({
        label: "Steps ahead",
        value: 12,
        min: 1,
        max: this.most,
        step: 1,
        hint: `1 to ${this.most}`,
      });
    if (noise) {
      fields.interval = select(
        "Interval",
        INTERVALS.map(([value, label]) => ({ value, label })),
        undefined,
        "0.1,0.9",
      );
      fields.paths = slider("Draws", 10, 2000, 10, 200);
      fields.seed = numberInput({ label: "Seed", value: 0, min: 0, step: 1 });
    } else if (quantiles.length > 1) fields.interval = checkbox("Show the interval", true);
    if (loop) fields.stream = checkbox("Show each step as it comes");
    return fields;
  }

  /** Inputs beside the series. Those of a graph that starts a loop are not in the card: an example may name them. */
  findFurther() {
    const { history, length, noise } = this.facts;
    return this.model.details.loop
      ? []
      : this.model.inputs.filter(({ name }) => ![history, length, noise].includes(name));
  }

  useExample(body) {
    const [row] = body.inputs;
    const { values = row[this.facts.history] ?? row, ...others } = Array.isArray(row) ? {} : row;
    this.input.set(values.join("\n"));
    for (const [name, field] of this.further) if (others[name] !== undefined) field.value = others[name];
    if (body.horizon) this.fields.horizon.value = body.horizon;
    if (body.seed !== undefined && this.fields.seed) this.fields.seed.value = body.seed;
    if (this.fields.stream) this.fields.stream.value = Boolean(body.stream);
    this.run();
  }

  submit(event) {
    event.preventDefault();
    this.run();
  }

  body() {
    const { horizon, interval, paths, seed, stream } = this.fields;
    const { values } = this.input.series;
    const others = Object.fromEntries([...this.further].map(([name, { value }]) => [name, value]));
    const row = this.further.size ? { values, ...others } : values;
    const body = { model: this.model.name, inputs: [row], horizon: horizon.value };
    if (this.facts.noise && interval.value !== "none") {
      Object.assign(body, {
        quantiles: interval.value.split(",").map(Number),
        paths: paths.value,
        seed: seed.value ?? 0,
      });
    } else if (interval && interval.value === false) body.quantiles = [];
    return stream?.value ? { ...body, stream: true } : body;
  }

  fault() {
    if (!this.input.series) return "There is no series yet: paste or drop one, or choose an example.";
    const empty = [...this.further].find(([, { value }]) => value === null);
    if (empty) return `Fill in “${empty[0]}”: the model needs it beside the series.`;
    const horizon = this.fields.horizon.value;
    return horizon >= 1 && horizon <= this.most && Number.isInteger(horizon)
      ? ""
      : `Steps ahead: expected a whole number from 1 to ${this.most}.`;
  }

  run() {
    const fault = this.fault();
    if (fault) {
      showError(this.output, new Error(fault));
      return;
    }
    const body = this.body();
    this.forecast = this.begin(this.input.series, body.horizon);
    const work = async (signal) => {
      this.setBusy(true);
      await (body.stream ? this.follow(body, signal) : this.ask(body, signal));
      this.finish();
    };
    this.runs.run(work, () => this.setBusy(false));
  }

  /** The forecast of a series before its first step. */
  begin({ values, labels, name }, horizon) {
    return { history: values, labels, name, unit: this.facts.unit, mean: [], horizon };
  }

  setBusy(isBusy) {
    this.output.setAttribute("aria-busy", String(isBusy));
    if (isBusy) replace(this.output, h("p", { class: "muted" }, "Forecasting…"));
    this.draw();
  }

  async ask(body, signal) {
    const answer = await this.server.ask(ROUTE, body, { signal });
    this.take(answer.json);
    showAnswer(this.output, { answer });
  }

  async follow(body, signal) {
    const times = timeEvents();
    let about;
    for await (const { event, data, answer } of this.server.stream(ROUTE, body, { signal })) {
      times.note();
      about = answer;
      if (event === "done") this.take(data);
      else if (data.row === 0) {
        this.forecast.mean.push(data.value);
        this.drawSoon();
      }
    }
    showAnswer(this.output, { request: { route: `/${ROUTE}`, body, accept: "application/json" }, answer: about });
    this.output.prepend(times.describe());
  }

  take({ predictions: [{ mean, quantiles }] }) {
    Object.assign(this.forecast, { mean, quantiles });
  }

  finish() {
    const { mean } = this.forecast;
    const csv = writeCsv(this.forecast);
    this.draw();
    replace(this.said, `The forecast has ${mean.length} steps, from ${mean[0]} to ${mean.at(-1)}.`);
    this.output.prepend(h("details", { class: "raw" }, h("summary", null, "The forecast as CSV"), codeBlock(csv)));
  }

  showHistory() {
    const { series } = this.input;
    replace(this.output);
    this.forecast = series && this.begin(series, Math.min(12, this.most));
    this.draw();
  }

  drawSoon() {
    this.waits ??= requestAnimationFrame(() => {
      this.waits = undefined;
      this.draw();
    });
  }

  draw() {
    this.whole.element.hidden = !this.forecast || !isCut(this.forecast);
    if (this.forecast) this.chart.update(describeForecast(this.forecast, this.whole.value));
    else this.chart.update({ title: "Series", series: [], height: 320 });
  }
}
