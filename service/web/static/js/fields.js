/**
 * Form fields with their labels. Each gives `{element, value}`: put `element` into the page, read or set `value`.
 */

import { h, replace, uniqueId } from "./dom.js";

function labelled(label, field, hint, ...more) {
  const id = field.id || uniqueId("field");
  field.id = id;
  const note = hint ? h("small", { class: "hint", id: `${id}-hint` }, hint) : null;
  if (note) field.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: id }, label), field, more, note);
}

function withValue(element, field, read = () => field.value, write = (value) => (field.value = value)) {
  return {
    element,
    field,
    get value() {
      return read();
    },
    set value(value) {
      write(value);
    },
  };
}

/**
 * @param {{label: string, value?: string, lines?: number, hint?: string, placeholder?: string,
 *   onInput?: (text: string) => void}} options `lines` above 1 give a text area
 */
export function textInput({ label, value = "", lines = 1, hint, placeholder, onInput }) {
  const tag = lines > 1 ? "textarea" : "input";
  const field = h(tag, { ...(lines > 1 ? { rows: lines } : { type: "text" }), placeholder, autocomplete: "off" });
  field.value = value;
  field.addEventListener("input", () => onInput?.(field.value));
  return withValue(labelled(label, field, hint), field);
}

/**
 * A text area for JSON. `value` is undefined where the text is none.
 * @param {{label: string, lines?: number, hint?: string, onInput?: (text: string) => void}} options
 */
export function jsonInput({ label, lines = 4, hint, onInput }) {
  const { element, field } = textInput({ label, lines, hint, onInput });
  const read = () => {
    try {
      return JSON.parse(field.value);
    } catch {
      return undefined;
    }
  };
  return withValue(element, field, read, (value) => (field.value = JSON.stringify(value) ?? ""));
}

/**
 * A number. `value` is null where the field is empty.
 * @param {{label: string, value?: number | null, min?: number, max?: number, step?: number | "any", hint?: string,
 *   onInput?: (value: number | null) => void}} options
 */
export function numberInput({ label, value = null, min, max, step = "any", hint, onInput }) {
  const field = h("input", { type: "number", min, max, step, inputmode: "decimal" });
  const read = () => (field.value === "" ? null : Number(field.value));
  const write = (number) => (field.value = number === null || number === undefined ? "" : String(number));
  write(value);
  field.addEventListener("input", () => onInput?.(read()));
  return withValue(labelled(label, field, hint), field, read, write);
}

/**
 * @param {string} label @param {number} min @param {number} max @param {number} step @param {number} value
 * @param {(value: number) => void} [onInput]
 */
export function slider(label, min, max, step, value, onInput) {
  const field = h("input", { type: "range", min, max, step });
  const shown = h("output", { class: "slider-value" });
  const show = () => replace(shown, field.value);
  const write = (number) => {
    field.value = String(number);
    show();
  };
  write(value);
  field.addEventListener("input", () => {
    show();
    onInput?.(Number(field.value));
  });
  const element = labelled(label, field, "", shown);
  element.classList.add("slider");
  return withValue(element, field, () => Number(field.value), write);
}

/**
 * @param {string} label
 * @param {(string | {value: string, label: string})[]} options
 * @param {(value: string) => void} [onChange]
 * @param {string} [value]
 */
export function select(label, options, onChange, value) {
  const entries = options.map((option) => (typeof option === "string" ? { value: option, label: option } : option));
  const field = h(
    "select",
    { onchange: () => onChange?.(field.value), ...(value === undefined ? {} : { value }) },
    entries.map((entry) => h("option", { value: entry.value }, entry.label)),
  );
  return withValue(labelled(label, field), field);
}

/** @param {string} label @param {boolean} [checked] @param {(checked: boolean) => void} [onChange] */
export function checkbox(label, checked = false, onChange) {
  const field = h("input", { type: "checkbox", checked, onchange: () => onChange?.(field.checked) });
  const write = (value) => (field.checked = Boolean(value));
  return withValue(h("label", { class: "check" }, field, label), field, () => field.checked, write);
}

/**
 * A place to choose or drop files. `give` of what it returns takes files that came from elsewhere.
 * @param {{label: string, accept?: string, hint?: string, onFile: (file: File) => void, multiple?: boolean}} options
 *   `onFile` is called for each
 */
export function fileInput({ label, accept = "", hint, onFile, multiple = false }) {
  const give = (files) => [...files].slice(0, multiple ? files.length : 1).forEach(onFile);
  const field = h("input", { type: "file", accept, multiple, class: "visually-hidden" });
  field.addEventListener("change", () => {
    give(field.files);
    field.value = ""; // the same file may be chosen again
  });
  const note = h("small", { class: "hint" }, hint ?? "or drop it here");
  const element = h("label", { class: "drop" }, field, h("span", { class: "button" }, label), note);
  acceptDrops(element, give);
  return { element, field, give };
}

/**
 * Let files be dropped on an element.
 * @param {HTMLElement} element @param {(files: FileList) => void} give
 */
export function acceptDrops(element, give) {
  const mark = (event) => {
    event.preventDefault();
    element.classList.add("dropping");
  };
  element.addEventListener("dragenter", mark);
  element.addEventListener("dragover", mark);
  element.addEventListener("dragleave", () => element.classList.remove("dropping"));
  element.addEventListener("drop", (event) => {
    element.classList.remove("dropping");
    if (event.defaultPrevented) return; // a place within this one has taken them
    event.preventDefault();
    if (event.dataTransfer?.files.length) give(event.dataTransfer.files);
  });
}
