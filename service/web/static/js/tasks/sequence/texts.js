/** The workbench of a model that writes or reads texts: translations, captions, speech, lines of text. */

import { exampleButtons } from "../../bench.js";
import { h, replace } from "../../dom.js";
import { showAnswer, showError } from "../../result.js";
import { makeRuns } from "../../runs.js";
import { kindOfRow, sourceInput } from "./source_input.js";
import { timeEvents } from "./event_times.js";
import { textOptions } from "./text_options.js";
import { partsOf, showPieces, writtenText } from "./written.js";

const ROUTE = "predict_sequence";

export function mountTexts(parent, model, server) {
  const bench = new TextBench(model, server);
  replace(parent, bench.element);
  return { unmount: () => bench.end() };
}

class TextBench {
  constructor(model, server) {
    Object.assign(this, { model, server });
    this.input = sourceInput(model, () => kindOfRow(model) !== "text" && kindOfRow(model) !== "numbers" && this.run());
    this.options = textOptions(model);
    this.texts = h("div", { class: "texts" });
    this.said = h("p", { role: "status", class: "visually-hidden" });
    this.output = h("div", { class: "answer" }, h("p", { class: "muted" }, "The text stands here."));
    this.runs = makeRuns(model.details.reading ? "Read" : "Write", this.output);
    const form = h(
      "form",
      { class: "card", onsubmit: (event) => this.submit(event), novalidate: true },
      h("h2", null, { sound: "Sound", picture: "Picture", numbers: "Row", text: "Text" }[kindOfRow(model)]),
      this.input.element,
      this.options.element,
      this.runs.element,
      exampleButtons(server, model, ROUTE, ({ body }) => this.useExample(body)),
    );
    form.addEventListener(
      "keydown",
      (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && this.submit(event),
    );
    this.element = h(
      "div",
      { class: "columns" },
      form,
      h("div", { class: "card" }, h("h2", null, "Answer"), this.texts, this.said, this.output),
    );
  }

  useExample(body) {
    this.options.set(body);
    this.input.set(body.inputs[0]);
    if (["text", "numbers"].includes(kindOfRow(this.model))) this.run(); // the others tell of their change
  }

  submit(event) {
    event.preventDefault();
    this.run();
  }

  run() {
    const fault = this.input.fault();
    if (fault) {
      showError(this.output, new Error(fault));
      return;
    }
    const ended = () => {
      for (const text of this.texts.querySelectorAll("[aria-busy]")) text.setAttribute("aria-busy", "false");
    };
    this.runs.run((signal) => this.write(signal), ended);
  }

  async write(signal) {
    replace(this.output);
    const row = await this.input.row();
    const bodies = this.options.bodies().map(({ streams, options }) => ({
      model: this.model.name,
      inputs: [row],
      ...options,
      ...(streams ? { stream: true } : {}),
    }));
    const places = bodies.map((body) => writtenText(bodies.length > 1 ? `Seed ${body.seed}` : ""));
    replace(
      this.texts,
      places.map(({ element }) => element),
    );
    const predictions = await Promise.all(bodies.map((body, i) => this.ask(body, places[i], signal)));
    const word = this.model.details.reading ? "Read" : "Written";
    replace(this.said, `${word}: ${predictions.map(({ text }) => text).join("; ")}`);
  }

  /** One request: its text as it grows, then all that is known of it. */
  async ask(body, place, signal) {
    let prediction;
    if (body.stream) {
      const times = timeEvents();
      let about;
      for await (const { event, data, answer } of this.server.stream(ROUTE, body, { signal })) {
        times.note();
        about = answer;
        if (event === "done") [prediction] = data.predictions;
        else place.grow(data.text, data.window);
      }
      showAnswer(this.output, { request: { route: `/${ROUTE}`, body, accept: "application/json" }, answer: about });
      this.output.prepend(times.describe());
    } else {
      const answer = await this.server.ask(ROUTE, body, { signal });
      [prediction] = answer.json.predictions;
      showAnswer(this.output, { answer });
    }
    place.finish(prediction);
    const parts = partsOf(prediction);
    if (parts.length) this.input.sound?.showParts(parts);
    const picture = this.input.picture?.picture;
    if (picture?.width && prediction.pieces) place.element.append(showPieces(picture, prediction.pieces));
    return prediction;
  }

  end() {
    this.runs.end();
    this.input.destroy();
  }
}
