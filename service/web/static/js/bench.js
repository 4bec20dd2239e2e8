/**
 * What all workbenches have: input beside answer, examples to try, one request at a time, errors as sentences.
 *
 * @typedef {import("./api.js").Example} Example
 */

import { h, replace } from "./dom.js";
import { pictureUrl } from "./pictures/pictures.js";
import { showAnswer, showError } from "./result.js";

/**
 * Lay out a workbench in `parent`.
 * @param {HTMLElement} parent
 * @param {any[]} inputs the left side
 * @param {string} hint what the right side says before the first answer
 * @returns {{output: HTMLElement, run: (work: (signal: AbortSignal) => Promise<import("./api.js").Answer | null>) =>
 *   Promise<void>, say: (text: string) => void, stop: () => void}} `output` is for the answer. `run` calls `work`, which
 *   asks and fills `output`; a later run cancels an earlier one. `say` tells screen readers the answer in short;
 *   after `stop` nothing runs any more
 */
export function makeBench(parent, inputs, hint) {
  const output = h("div", { class: "answer" }, h("p", { class: "muted empty" }, hint));
  const about = h("div");
  const said = h("p", { class: "visually-hidden", role: "status" });
  const side = h("section", { class: "card answer-card", "aria-label": "Answer" }, said, output, about);
  let controller = null;
  let isOver = false;
  replace(parent, h("div", { class: "columns" }, h("section", { class: "card", "aria-label": "Input" }, inputs), side));

  async function run(work) {
    if (isOver) return;
    controller?.abort();
    const own = (controller = new AbortController());
    side.setAttribute("aria-busy", "true");
    try {
      const answer = await work(own.signal);
      if (answer && own === controller) showAnswer(about, { answer });
    } catch (error) {
      if (own !== controller || error.name === "AbortError") return;
      showError(output, error);
      replace(said); // or a screen reader finds the last answer beside the error
      replace(about);
    } finally {
      if (own === controller) side.removeAttribute("aria-busy");
    }
  }

  function stop() {
    isOver = true;
    controller?.abort();
  }

  return { output, run, say: (text) => replace(said, text), stop };
}

/**
 * Buttons for the examples of a model, pictures as thumbnails. They come when the server has answered.
 * @param {any} server what `mount` gets
 * @param {import("./api.js").Model} model @param {string} task
 * @param {(example: Example) => void} onExample
 */
export function exampleButtons(server, model, task, onExample) {
  const place = h("div", { class: "examples", role: "group", "aria-label": "Examples" });
  server
    .getExamples(model.name, task)
    .then((examples) => {
      if (!examples.length) return;
      const buttons = examples.map((example) => exampleButton(example, () => onExample(example)));
      replace(place, h("h3", null, "Try an example"), h("div", { class: "row" }, buttons));
    })
    .catch((error) => replace(place, h("p", { class: "muted small" }, `No examples: ${error.message}`)));
  return place;
}

function exampleButton({ title, body }, onclick) {
  const picture = body.inputs?.length === 1 && body.inputs[0]?.image;
  const isPlain = picture && /^(Stored|Seed)/.test(title);
  const image = picture ? h("img", { src: pictureUrl(picture), alt: "", class: "thumbnail" }) : null;
  return h("button", { type: "button", class: "example", onclick, "aria-label": title, title }, image, isPlain ? null : title);
}
