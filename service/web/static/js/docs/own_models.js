/** Examples of the models that this server has: those of the documentation are about the reference models. */

import { getExamples } from "../api.js";
import { h } from "../dom.js";
import { select } from "../fields.js";

/**
 * A choice of the server's own models of a task.
 * @param {import("../api.js").Model[]} cards
 * @param {string} task
 * @param {string} chosen the model of the example that is shown
 * @param {(body: any, title: string) => void} onBody gets a request that the chosen model answers
 * @returns {HTMLElement | null} null where there is nothing to choose
 */
export function modelChoice(cards, task, chosen, onBody) {
  const names = modelsOf(cards, task);
  if (!names.length || (names.length === 1 && names[0] === chosen)) return null;
  const shown = names.includes(chosen) ? names : [{ value: "", label: "choose one of this server" }, ...names];
  const load = async (name) => {
    if (!name) return;
    const [example] = await getExamples(name, task).catch(() => []);
    onBody(example?.body ?? { model: name, inputs: [] }, example?.title ?? "");
  };
  const field = select("Model", shown, load, names.includes(chosen) ? chosen : "");
  field.field.dataset.choice = "model";
  return field.element;
}

/** @returns {string[]} the models that do a task and serve now */
function modelsOf(cards, task) {
  return cards.filter(({ ready, tasks }) => ready && tasks?.includes(task)).map(({ name }) => name);
}

/**
 * What to say where the model of a request is not there.
 * @param {import("../api.js").Model[]} cards empty where they are not known
 * @param {string | undefined} model
 */
export function missingModel(cards, model) {
  if (!model || !cards.length || cards.some(({ name }) => name === model)) return null;
  const names = cards.map(({ name }) => name);
  const more = names.length > 8 ? ", …" : "";
  return h(
    "p",
    { class: "note small" },
    `This server has no model “${model}”. It has ${names.slice(0, 8).join(", ")}${more}.`,
  );
}
