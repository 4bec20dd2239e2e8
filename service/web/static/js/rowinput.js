/**
 * The input of one model, made from its card: a picture, texts, a sound, the columns of a table, or numbers.
 *
 * @typedef {import("./api.js").Model} Model
 * @typedef {{element: HTMLElement, rows: any[] | null, setRows: (rows: any[]) => void, destroy: () => void}} RowInput
 *   `rows` are those that were given last; `setRows` shows rows, such as those of an example, and gives them
 */

import { h, replace } from "./dom.js";
import { checkbox, textInput } from "./fields.js";
import { showShape } from "./format.js";
import { pictureInput } from "./pictures/picture_input.js";
import { soundInput } from "./sounds/sound_input.js";
import { columnForm } from "./column_form.js";

/**
 * @param {Model} model
 * @param {{onRows: (rows: any[]) => void, action: string}} options `action` is the text of the button
 * @returns {RowInput}
 */
export function rowInput(model, options) {
  const { image, tokens, sound, table } = model.details ?? {};
  if (image && image.graph === "main") return pictures(image, options);
  if (tokens && tokens.graph === "main") return texts(options);
  if (sound && sound.graph === "main") return sounds(sound, options);
  if (table) return columns(model, table, options);
  return numbers(model, options);
}

function pictures(image, { onRows }) {
  const input = pictureInput({ image, onPicture: (picture) => give([picture.asRow()]) });
  const component = { element: input.element, rows: null, setRows, destroy: input.destroy };

  function give(rows) {
    component.rows = rows;
    onRows(rows);
  }

  async function setRows(rows) {
    await input.setRow(rows[0], { silent: true });
    give(rows);
  }

  return component;
}

/** A form whose button gives the rows that `read` returns. An error of `read` is shown at the form. */
function form(fields, action, read, onRows) {
  const fault = h("p", { class: "error", role: "alert", hidden: true });
  const element = h("form", { class: "row-form" }, fields, fault, h("button", { type: "submit", class: "primary" }, action));
  const component = { element, rows: null, setRows: null, give, destroy: () => undefined };
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    try {
      give(read());
    } catch (error) {
      replace(fault, error.message);
      fault.hidden = false;
    }
  });
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) element.requestSubmit();
  });

  function give(rows) {
    fault.hidden = true;
    component.rows = rows;
    onRows(rows);
  }

  return component;
}

function texts({ onRows, action }) {
  const text = textInput({ label: "Text", lines: 4 });
  const lines = checkbox("Each line is a text of its own", true);
  const read = () => {
    const found = lines.value ? text.value.split("\n").map((line) => line.trim()) : [text.value.trim()];
    const rows = found.filter(Boolean);
    if (!rows.length) throw new Error("Write a text first.");
    return rows;
  };
  const component = form([text.element, lines.element], action, read, onRows);
  component.setRows = (rows) => {
    text.value = rows.map((row) => (typeof row === "string" ? row : JSON.stringify(row))).join("\n");
    component.give(rows);
  };
  return component;
}

function sounds(sound, { onRows }) {
  const input = soundInput({ longest_s: sound.longest_s, onSound: (found) => give([found.asRow()]) });
  const component = { element: input.element, rows: null, setRows, destroy: input.destroy };

  function give(rows) {
    component.rows = rows;
    onRows(rows);
  }

  function setRows(rows) {
    if (rows[0]?.sound) input.setRow(rows[0]);
    else give(rows);
  }

  return component;
}

function columns(model, table, { onRows, action }) {
  const fields = columnForm(model, table);
  const component = form(fields.element, action, () => [fields.read()], onRows);
  component.setRows = (rows) => {
    fields.write(rows[0]);
    component.give(rows);
  };
  return component;
}

function numbers(model, { onRows, action }) {
  const shapes = (model.inputs ?? []).map(({ name, shape }) => `${name} ${showShape(shape.slice(1))}`);
  const several = (model.inputs?.length ?? 0) > 1;
  const hint = several ? `A JSON object with ${shapes.join(", ")}` : `Numbers in JSON, nested as ${shapes[0] ?? "the row"}`;
  const text = textInput({ label: "Row", lines: 8, hint });
  const read = () => {
    try {
      return [JSON.parse(text.value)];
    } catch (error) {
      throw new Error(`The row is not JSON: ${error.message}.`);
    }
  };
  const component = form(text.element, action, read, onRows);
  component.setRows = (rows) => {
    text.value = JSON.stringify(rows[0]);
    component.give(rows);
  };
  return component;
}
