/** How a text is found: the likeliest at each step, by a search, or drawn. Which of them a model can is in its card. */

import { h, replace } from "../../dom.js";
import { checkbox, numberInput, select, slider, textInput } from "../../fields.js";

const GREEDY = { value: "greedy", label: "The likeliest at each step" };
const BEAMS = { value: "beams", label: "A search for the likeliest text (beams)" };
const DRAWS = { value: "draws", label: "Drawn at random" };

/**
 * @param {import("../../api.js").Model} model
 * @returns {{element: HTMLElement, bodies: () => {streams: boolean, options: Record<string, any>}[],
 *   set: (body: Record<string, any>) => void}} `bodies` has the options of each request: draws are several
 */
export function textOptions(model) {
  const { writing, reading, sound, image } = model.details;
  const way = select("How", writing ? [GREEDY, BEAMS, DRAWS] : [GREEDY, BEAMS], () => show());
  const fields = makeFields();
  const place = h("div", { class: "field-grid" });

  function names() {
    const ways = { greedy: [], beams: ["beams"], draws: ["temperature", "top_k", "top_p", "seed", "draws"] };
    const found = [...ways[way.value]];
    if (writing) found.push("max_tokens", ...(way.value === "beams" ? [] : ["stop"]), ...(sound ? ["windows"] : []));
    if (reading && (sound || image) && way.value === "greedy") found.push("pieces");
    return found;
  }

  function show() {
    replace(
      place,
      names().map((name) => fields[name].element),
    );
  }

  function bodies() {
    const options = {};
    for (const name of names()) {
      const { value } = fields[name];
      if (name === "draws" || value === null || value === false || value === "") continue;
      options[name] = name === "stop" ? [value] : value;
    }
    const streams = !reading && way.value !== "beams"; // what is read comes in one event
    if (way.value !== "draws") return [{ streams, options }];
    const first = fields.seed.value ?? 0;
    return Array.from({ length: fields.draws.value }, (_, i) => ({
      streams,
      options: { ...options, seed: first + i },
    }));
  }

  function set(body) {
    way.value = body.beams > 1 ? "beams" : body.temperature ? "draws" : "greedy";
    if (body.beams > 1) fields.beams.value = body.beams;
    for (const name of ["temperature", "top_k", "top_p", "seed", "max_tokens"]) {
      if (body[name] !== undefined) fields[name].value = body[name];
    }
    show();
  }

  show();
  return { element: h("div", null, way.element, place), bodies, set };
}

/** All fields; a way shows some of them. */
function makeFields() {
  return {
    beams: slider("Beams", 2, 8, 1, 3),
    temperature: slider("Temperature", 0.1, 2, 0.1, 0.8),
    top_k: numberInput({ label: "Only so many tokens", min: 1, step: 1, hint: "top_k; empty: all" }),
    top_p: numberInput({
      label: "Only tokens with this share",
      min: 0.01,
      max: 1,
      step: 0.01,
      hint: "top_p; empty: all",
    }),
    seed: numberInput({ label: "Seed", value: 0, min: 0, step: 1 }),
    draws: slider("Draws", 1, 6, 1, 3),
    max_tokens: numberInput({ label: "At most so many tokens", min: 1, step: 1, hint: "empty: as many as it can" }),
    stop: textInput({ label: "Stop before", hint: "a text that ends the answer" }),
    pieces: checkbox("Show where each symbol is", true),
    windows: checkbox("Show each window of the sound", true),
  };
}
