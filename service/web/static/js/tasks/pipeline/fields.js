/**
 * The fields of a pipeline's row. A row is one value, such as a picture, or an object with a value for each field.
 *
 * @typedef {"picture"|"sound"|"text"|"json"} Kind
 */

import { h } from "../../dom.js";
import { jsonInput, textInput } from "../../fields.js";
import { pictureInput } from "../../pictures/picture_input.js";
import { soundInput } from "../../sounds/sound_input.js";

const ROW = "request";

/**
 * What the wires of a pipeline take of a row.
 * @param {{steps: Record<string, any>}} pipeline
 * @param {import("../../api.js").Model[]} cards
 * @returns {{name: string, kind: Kind, isList: boolean}[]} the name is empty where a row is one value
 */
export function readFields({ steps }, cards) {
  const found = new Map();
  const note = (wire, kind, isList) => {
    const [root, rest = ""] = splitOnce(wire, ".");
    if (root.replace(/\[.*/, "") !== ROW) return;
    const name = rest.split(/[.[]/)[0];
    const before = found.get(name);
    found.set(name, {
      name,
      kind: before && before.kind !== "json" ? before.kind : kind,
      isList: isList || wire.includes("[]") || Boolean(before?.isList),
    });
  };
  for (const step of Object.values(steps)) {
    const kind = kindOf(step, cards);
    if (step.picture) note(step.picture, "picture", false);
    if (step.each) note(step.each, kind, true);
    if (typeof step.input === "string") note(step.input, kind, false);
    else for (const wire of Object.values(step.input ?? {})) note(wire, "json", false);
    for (const wire of [step.boxes, step.vectors, step.others]) if (wire) note(wire, "json", false);
  }
  return [...found.values()];
}

function splitOnce(text, sign) {
  const at = text.indexOf(sign);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function kindOf(step, cards) {
  const details = cards.find(({ name }) => name === step.model)?.details ?? {};
  if (details.image || step.task === "detect" || step.task === "segment") return "picture";
  if (details.sound) return "sound";
  return details.tokens || details.text ? "text" : "json";
}

/**
 * @param {ReturnType<typeof readFields>} fields
 * @param {() => void} onChange
 */
export function rowFields(fields, onChange) {
  const makers = { picture: pictureField, sound: soundField, text: textField, json: jsonField };
  const parts = fields.map(({ name, kind, isList }) => {
    const field = (isList ? jsonField : makers[kind])(name || "Row", onChange, kind);
    return { name, ...field };
  });
  const isOne = parts.length === 1 && parts[0].name === "";
  return {
    element: h(
      "div",
      null,
      parts.map(({ element }) => element),
    ),
    fault: () => parts.map(({ fault }) => fault()).find(Boolean) ?? "",
    async row() {
      if (isOne) return parts[0].row();
      return Object.fromEntries(await Promise.all(parts.map(async ({ name, row }) => [name, await row()])));
    },
    set: (row) => Promise.all(parts.map((part) => part.set(isOne ? row : row[part.name]))),
    pictures: () => parts.map(({ picture }) => picture?.()).filter(Boolean),
    destroy: () => parts.forEach(({ destroy }) => destroy?.()),
  };
}

function pictureField(label, onChange) {
  const input = pictureInput({ onPicture: onChange, label: label === "Row" ? "Picture" : label });
  const title = label === "Row" ? null : h("p", { class: "label" }, label);
  return {
    element: h("div", null, title, input.element),
    row: async () => input.picture.asRow(),
    fault: () =>
      input.picture ? "" : `Choose, drop or paste a picture${label === "Row" ? "" : ` for ${label}`} first.`,
    set: (row) => input.setRow(row),
    picture: () => input.picture,
    destroy: () => input.destroy(),
  };
}

function soundField(label, onChange) {
  const input = soundInput({ onSound: onChange });
  return {
    element: h("div", null, h("p", { class: "label" }, label), input.element),
    row: async () => input.sound.asRow(),
    fault: () => (input.sound ? "" : `Record or drop a sound for ${label} first.`),
    set: (row) => input.setRow(row),
    destroy: () => input.destroy(),
  };
}

function textField(label) {
  const field = textInput({ label, lines: 3 });
  return {
    element: field.element,
    row: async () => field.value,
    fault: () => (field.value ? "" : `Write a text for ${label} first.`),
    set: (row) => (field.value = String(row ?? "")),
  };
}

/** Anything else, as JSON. */
function jsonField(label, _, kind) {
  const forms = { picture: '{"image": "base64"}', sound: '{"sound": "base64"}', text: '"text"', json: "[1, 2]" };
  const hint = `JSON, such as ${forms[kind]}; a list of them where there are several.`;
  const field = jsonInput({ label, hint });
  return {
    element: field.element,
    row: async () => field.value,
    fault: () => (field.value === undefined ? `${label}: expected JSON.` : ""),
    set: (row) => (field.value = row),
  };
}
