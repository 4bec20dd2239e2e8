/** A form for the columns of a table, as the manifest of a model describes them. */

import { h } from "./dom.js";
import { numberInput, select, textInput } from "./fields.js";

/**
 * @param {import("./api.js").Model} model
 * @param {{columns: {name: string, input: string, missing: boolean, values: (string | number)[]}[]}} table
 * @returns {{element: HTMLElement, read: () => Record<string, any>, write: (row: any) => void}} `read` gives a value for
 *   each column, null for one that is missing. It throws an Error, in a sentence, for one that must not be
 */
export function columnForm(model, table) {
  const datatypes = Object.fromEntries((model.inputs ?? []).map(({ name, datatype }) => [name, datatype]));
  const isText = (column) => datatypes[column.input] === "BYTES";
  const fields = table.columns.map((column) => ({ column, field: fieldOf(column, isText(column)) }));

  function read() {
    const row = {};
    for (const { column, field } of fields) {
      const value = field.value === "" ? null : field.value;
      if (value === null && !column.missing) {
        field.field.focus();
        throw new Error(`${readable(column.name)} needs a value.`);
      }
      row[column.name] = column.values.length ? JSON.parse(value) : value;
    }
    return row;
  }

  function write(row) {
    table.columns.forEach(({ name, values }, i) => {
      const value = Array.isArray(row) ? row[i] : row?.[name];
      fields[i].field.value = values.length ? JSON.stringify(value ?? null) : (value ?? "");
    });
  }

  return { element: h("div", { class: "field-grid" }, fields.map(({ field }) => field.element)), read, write };
}

function fieldOf(column, isText) {
  const label = readable(column.name);
  if (column.values.length) {
    const options = column.values.map((value) => ({ value: JSON.stringify(value), label: String(value) }));
    return select(label, column.missing ? [{ value: "null", label: "missing" }, ...options] : options);
  }
  const hint = column.missing ? "may be missing" : undefined;
  return isText ? textInput({ label, hint }) : numberInput({ label, hint });
}

function readable(name) {
  const text = name.replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
}
