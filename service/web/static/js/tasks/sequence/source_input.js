/** The field for what a model turns into text: a text, a picture, a sound, or numbers. */

import { h } from "../../dom.js";
import { jsonInput, textInput } from "../../fields.js";
import { showShape } from "../../format.js";
import { pictureInput } from "../../pictures/picture_input.js";
import { soundInput } from "../../sounds/sound_input.js";

/**
 * @typedef {object} SourceInput
 * @property {HTMLElement} element
 * @property {() => Promise<any>} row what goes into `inputs`
 * @property {() => string} fault why there is no row; empty if there is one
 * @property {(row: any) => void} set shows a row of an example
 * @property {() => void} destroy
 * @property {any} [sound] the component, for windows
 */

/** What a model takes: "sound", "picture", "numbers" or "text". @param {import("../../api.js").Model} model */
export function kindOfRow({ details }) {
  if (details.sound) return "sound";
  if (details.image) return "picture";
  return details.reading ? "numbers" : "text";
}

/**
 * @param {import("../../api.js").Model} model
 * @param {() => void} onChange
 * @returns {SourceInput}
 */
export function sourceInput(model, onChange) {
  return { sound: soundRow, picture: pictureRow, numbers: numbersRow, text: textRow }[kindOfRow(model)](
    model,
    onChange,
  );
}

function textRow({ details }, onChange) {
  const isPrompt = details.writing && !details.loop?.start;
  const longest = details.text?.lengths?.at(-1);
  const field = textInput({
    ...{ label: isPrompt ? "Prompt: the text goes on from it" : "Text", lines: 3, onInput: onChange },
    hint: longest ? `At most ${longest} characters.` : undefined,
  });
  return {
    element: field.element,
    row: async () => field.value,
    fault: () => (field.value || isPrompt ? "" : "Write a text first, or choose an example."),
    set: (row) => (field.value = row),
    destroy: () => undefined,
  };
}

function pictureRow(_, onChange) {
  const input = pictureInput({ onPicture: onChange });
  return {
    element: input.element,
    row: async () => input.picture.asRow(),
    fault: () => (input.picture ? "" : "Choose, drop or paste a picture first."),
    set: (row) => input.setRow(row),
    destroy: () => input.destroy(),
    picture: input,
  };
}

function soundRow({ details }, onChange) {
  const input = soundInput({ longest_s: details.sound.longest_s, onSound: onChange });
  const hint = h(
    "p",
    { class: "hint" },
    `At most ${details.sound.longest_s} s. The server makes it ${details.sound.rate.toLocaleString("en")} Hz.`,
  );
  return {
    element: h("div", null, input.element, hint),
    row: async () => input.sound.asRow(),
    fault: () => (input.sound ? "" : "Record a sound, or drop one, first."),
    set: (row) => input.setRow(row),
    destroy: () => input.destroy(),
    sound: input,
  };
}

function numbersRow(model, onChange) {
  const shape = showShape(model.inputs[0]?.shape.slice(1) ?? []);
  const field = jsonInput({ label: "Row", lines: 6, hint: `Nested arrays of numbers of the shape ${shape}.`, onInput: onChange });
  return {
    element: field.element,
    row: async () => field.value,
    fault: () => (Array.isArray(field.value) ? "" : "Write nested arrays of numbers, such as [[0.1, 0.2], [0.3, 0.4]]."),
    set: (row) => (field.value = row),
    destroy: () => undefined,
  };
}
