/** A field for a series: pasted, dropped or chosen, with its column and what is wrong with it. */

import { h, replace } from "../../dom.js";
import { acceptDrops, fileInput, select, textInput } from "../../fields.js";
import { plural } from "../../format.js";
import { fillGaps, readTable } from "./csv.js";

const WAIT_MS = 250;
const MOST_SHOWN = 200_000;
const LONGEST_FILE = 50 << 20;

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {number[]} values the last ones that the model takes
 * @property {string[]|null} labels
 * @property {string} labelName
 */

/**
 * @param {{least: number, most: number, onChange: (series: Series|null) => void}} options how many values a model takes
 * @returns {{element: HTMLElement, readonly series: Series|null, set: (text: string) => void}}
 */
export function seriesInput({ least, most, onChange }) {
  const input = new SeriesInput(least, most, onChange);
  return {
    element: input.element,
    /** Of all that was typed, also just now. */
    get series() {
      if (input.timer !== undefined) input.read();
      return input.series;
    },
    set: (text) => input.set(text),
  };
}

class SeriesInput {
  constructor(least, most, onChange) {
    Object.assign(this, { least, most, onChange, series: null, table: null, column: "", filled: false });
    this.area = textInput({
      ...{ label: "Series", lines: 7, placeholder: "year,sunspots\n2006,15.2\n2007,7.5\n2008,2.9" },
      hint: `Oldest first: CSV, or numbers one on each line. This model takes ${least.toLocaleString("en")} to ${most.toLocaleString("en")} values.`,
      onInput: () => this.later(),
    });
    this.area.field.spellcheck = false;
    this.area.field.classList.add("editor");
    const file = fileInput({
      label: "Choose a CSV file",
      accept: ".csv,.tsv,.txt,.json,text/csv,text/plain",
      onFile: (found) => this.open(found),
    });
    this.columns = h("div");
    this.notes = h("div", { "aria-live": "polite" });
    this.element = h("div", { class: "series-input" }, file.element, this.area.element, this.columns, this.notes);
    acceptDrops(this.element, (files) => this.open(files[0]));
  }

  set(text) {
    this.text = undefined;
    this.area.value = text;
    this.read();
  }

  async open(file) {
    if (file.size > LONGEST_FILE)
      return this.fail(new Error(`The file has ${Math.round(file.size / 2 ** 20)} MiB; this page reads up to 50 MiB.`));
    const text = await file.text();
    if (text.includes("\0")) return this.fail(new Error(`${file.name} is no text. Save it as CSV first.`));
    if (!text.trim()) return this.fail(new Error(`${file.name} is empty. A series has numbers, one on each line.`));
    this.text = text.length > MOST_SHOWN ? text : undefined;
    this.area.value = this.text ? `${text.slice(0, 2000)}\n… ${file.name} goes on` : text;
    return this.read();
  }

  later() {
    this.text = undefined;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.read(), WAIT_MS);
  }

  read() {
    clearTimeout(this.timer);
    this.timer = undefined;
    const text = this.text ?? this.area.value;
    this.filled = false;
    try {
      this.table = readTable(text);
    } catch (error) {
      this.fail(text.trim() ? error : null);
      return;
    }
    const names = this.table.columns.map(({ name }) => name);
    if (!names.includes(this.column)) this.column = names[0];
    const choose = (name) => {
      this.column = name;
      this.filled = false;
      this.use();
    };
    replace(this.columns, names.length > 1 ? select("Column", [...new Set(names)], choose, this.column).element : null);
    this.use();
  }

  fail(error) {
    this.series = null;
    replace(this.columns);
    replace(this.notes, error ? h("p", { class: "error" }, error.message) : null);
    this.onChange(null);
  }

  /** The chosen column as the series, or what it lacks. */
  use() {
    const { labels, labelName } = this.table;
    const column = this.table.columns.find(({ name }) => name === this.column);
    const { values, first } = fillGaps(column.values);
    const inside = column.values.slice(first, first + values.length).filter((value) => value === null).length;
    if (inside && !this.filled) {
      this.askToFill(column, inside);
      return;
    }
    const kept = values.slice(-this.most);
    const begin = first + values.length - kept.length;
    this.series = {
      name: column.name === "values" ? "" : column.name,
      values: kept,
      labels: labels?.slice(begin, begin + kept.length) ?? null,
      labelName,
    };
    const short = kept.length < this.least;
    replace(this.notes, this.describe(kept, values.length, inside, short));
    if (short) this.series = null;
    this.onChange(this.series);
  }

  describe(kept, all, inside, short) {
    const range = this.series.labels ? `, ${this.series.labels[0]} to ${this.series.labels.at(-1)}` : "";
    const cut =
      all > kept.length
        ? `The model takes the last ${kept.length.toLocaleString("en")} of ${all.toLocaleString("en")} values${range}.`
        : "";
    const text = cut || `${plural(kept.length, "value")}${range}.`;
    const filled = inside ? ` ${plural(inside, "gap")} filled with straight lines.` : "";
    const more = short
      ? h("p", { class: "error" }, `This model needs at least ${this.least} values, and the series has ${kept.length}.`)
      : null;
    return [h("p", { class: "muted small" }, text + filled), more];
  }

  askToFill(column, inside) {
    const [gap] = column.gaps;
    const what = gap.text ? `“${gap.text.slice(0, 30)}”` : "nothing";
    const fill = () => {
      this.filled = true;
      this.use();
    };
    this.series = null;
    replace(
      this.notes,
      h(
        "div",
        { class: "note" },
        h(
          "p",
          null,
          `Line ${gap.line} has ${what} in the column “${column.name}”, and a series needs a number for each step.`,
        ),
        h(
          "button",
          { type: "button", class: "small", onclick: fill },
          `Fill ${plural(inside, "gap")} with straight lines`,
        ),
      ),
    );
    this.onChange(null);
  }
}
