/** Any model by its tensors, as the Open Inference Protocol has them: a form made from the signature. */

import { exampleButtons, makeBench } from "../bench.js";
import { h, replace } from "../dom.js";
import { select, textInput } from "../fields.js";
import { number, plural, showShape } from "../format.js";

const MOST_TYPED = 4096; // numbers in a text area
const MOST_SHOWN = 200; // values of an output
const FILLINGS = { typed: "as typed below", zeros: "zeros", ones: "ones", random: "random numbers" };

/** @type {import("./index.js").Workbench["mount"]} */
export function mount(parent, model, server) {
  const fields = (model.inputs ?? []).map(tensorField);
  const fault = h("p", { class: "error", role: "alert", hidden: true });
  const form = h(
    "form",
    { class: "row-form", onsubmit: submit },
    fields.map((field) => field.element),
    fault,
    h("button", { type: "submit", class: "primary" }, "Infer"),
  );
  const examples = exampleButtons(server, model, "tensors", useExample);
  const bench = makeBench(parent, [form, examples], "The outputs come here.");
  const route = `v2/models/${encodeURIComponent(model.name)}/infer`;

  function submit(event) {
    event?.preventDefault();
    try {
      fault.hidden = true;
      ask({ inputs: fields.map((field) => field.read()) });
    } catch (error) {
      replace(fault, error.message);
      fault.hidden = false;
    }
  }

  function useExample({ body }) {
    for (const tensor of body.inputs) fields.find(({ name }) => name === tensor.name)?.write(tensor);
    submit();
  }

  function ask(body) {
    bench.run(async (signal) => {
      const answer = await server.ask(route, body, { signal });
      replace(bench.output, answer.json.outputs.map(showOutput));
      bench.say(`${plural(answer.json.outputs.length, "output")}`);
      return answer;
    });
  }

  return { unmount: () => bench.stop() };
}

/** The shape and the values of one input. */
function tensorField({ name, datatype, shape }) {
  const size = textInput({ label: "Shape", value: shape.map((each) => (each < 0 ? 1 : each)).join(", "), hint: showShape(shape) });
  const text = textInput({ label: "Values", lines: 4, hint: "JSON, or numbers with spaces or commas" });
  const many = shape.reduce((product, each) => product * Math.abs(each), 1) > MOST_TYPED;
  const kinds = Object.entries(FILLINGS).filter(([kind]) => isFloat(datatype) || kind !== "random");
  const filling = select(
    "Filled with",
    kinds.map(([value, label]) => ({ value, label })),
    (value) => (text.element.hidden = value !== "typed"),
    many ? (isFloat(datatype) ? "random" : "zeros") : "typed",
  );
  text.element.hidden = filling.value !== "typed";
  text.value = many ? "" : fill(sizesOf(size.value, name), datatype, "zeros").join(", ");

  function read() {
    const sizes = sizesOf(size.value, name);
    const data = filling.value === "typed" ? parse(text.value, name, datatype) : fill(sizes, datatype, filling.value);
    return { name, shape: sizes, datatype, data };
  }

  function write(tensor) {
    size.value = tensor.shape.join(", ");
    filling.value = "typed";
    text.element.hidden = false;
    text.value = JSON.stringify(tensor.data);
  }

  const element = h(
    "fieldset",
    { class: "tensor" },
    h("legend", null, name, " ", h("small", { class: "muted" }, datatype)),
    h("div", { class: "field-grid" }, size.element, filling.element),
    text.element,
  );
  return { name, element, read, write };
}

function isFloat(datatype) {
  return /^(FP|BF)/.test(datatype);
}

function sizesOf(text, name) {
  const sizes = text.split(/[\s,;x×]+/).filter(Boolean).map(Number);
  if (sizes.some((size) => !Number.isInteger(size) || size < 0)) throw new Error(`The shape of ${name} must be whole numbers, got ${text}.`);
  return sizes;
}

function fill(sizes, datatype, filling) {
  const count = sizes.reduce((product, size) => product * size, 1);
  const one = { BOOL: true, BYTES: "one" }[datatype] ?? 1;
  const zero = { BOOL: false, BYTES: "" }[datatype] ?? 0;
  if (filling === "random") return Array.from({ length: count }, () => Number((Math.random() * 2 - 1).toFixed(4)));
  return Array(count).fill(filling === "ones" ? one : zero);
}

function parse(text, name, datatype) {
  const trimmed = text.trim();
  const json = trimmed.startsWith("[") ? trimmed : `[${trimmed.split(/[\s,;]+/).filter(Boolean).map((each) => quote(each, datatype)).join(",")}]`;
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new Error(`The values of ${name} cannot be read: ${error.message}.`);
  }
}

/** Texts may be typed without quotes. */
function quote(word, datatype) {
  return datatype === "BYTES" && !word.startsWith('"') ? JSON.stringify(word) : word;
}

function showOutput({ name, datatype, shape, data }) {
  const numbers = data.filter((each) => typeof each === "number");
  const facts = numbers.length > 1 ? statistics(numbers) : "";
  return h(
    "section",
    { class: "tensor-output", "aria-label": name },
    h("h3", null, name, " ", h("small", { class: "muted" }, `${datatype} [${shape.join(", ")}]`)),
    facts ? h("p", { class: "muted small" }, facts) : null,
    data.length ? h("div", { class: "scroll" }, valueTable(shape, data)) : h("p", { class: "muted" }, "No values"),
    data.length > MOST_SHOWN ? h("p", { class: "muted small" }, `The first ${MOST_SHOWN} of ${data.length} values. The JSON below has more.`) : null,
  );
}

function statistics(numbers) {
  const [least, most] = numbers.reduce(([low, high], each) => [Math.min(low, each), Math.max(high, each)], [Infinity, -Infinity]);
  const mean = numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
  return `from ${number(least)} to ${number(most)}, mean ${number(mean)}`;
}

/** A line for each position of all axes but the last. */
function valueTable(shape, data) {
  const width = Math.max(1, shape.length ? shape[shape.length - 1] : 1);
  const shown = data.slice(0, MOST_SHOWN);
  const greatest = Math.max(...shown.filter((each) => typeof each === "number").map(Math.abs), 1e-12);
  const lines = [];
  for (let at = 0; at < shown.length; at += width) {
    const cells = shown.slice(at, at + width).map((each) => cell(each, greatest));
    lines.push(h("tr", null, h("th", { scope: "row", class: "muted" }, position(shape, at / width)), cells));
  }
  return h("table", { class: "values" }, lines);
}

/** Numbers are shaded by their magnitude. */
function cell(value, greatest) {
  if (typeof value !== "number") return h("td", null, String(value));
  return h("td", { class: "number", style: { "--share": (Math.abs(value) / greatest).toFixed(3) } }, number(value));
}

function position(shape, index) {
  const places = [];
  for (const size of shape.slice(0, -1).reverse()) {
    places.unshift(index % size);
    index = Math.floor(index / size);
  }
  return places.length ? `[${places.join(", ")}]` : "";
}
