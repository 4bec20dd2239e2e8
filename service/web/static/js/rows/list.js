/** A list of rows that a user puts together: texts, pictures, sounds or numbers. */

import { audioOf, blobOfRow } from "../blobs.js";
import { h, replace } from "../dom.js";
import { textInput } from "../fields.js";
import { plural, showShape } from "../format.js";
import { pictureInput, readPicture } from "../pictures/picture_input.js";
import { fileOfRow, isDrawable } from "../pictures/pictures.js";
import { soundInput } from "../sounds/sound_input.js";

/**
 * @typedef {{row: any, name: string, url?: string, sound?: Blob}} Item a row, and what stands for it: a name, and the
 *   address of its picture or the file of its sound
 * @typedef {{element: HTMLElement, items: () => Item[], set: (rows: any[]) => Promise<void> | void,
 *   destroy: () => void}} RowList
 *   `items` raises an Error with a sentence for what cannot be read. `set` may take a while, for pictures are decoded
 */

/** What the rows of a model are: "picture", "sound", "text" or "numbers". */
export function rowKind(model) {
  const { image, sound, tokens, text } = model.details ?? {};
  if (image) return "picture";
  if (sound) return "sound";
  return tokens || text ? "text" : "numbers";
}

/** @returns {RowList} for what the model takes; `changed` is called after each change of pictures or sounds */
export function makeRowList(model, changed) {
  const kind = rowKind(model);
  if (kind === "picture") return listPictures(model.details.image, changed);
  if (kind === "sound") return listSounds(model.details.sound, changed);
  return kind === "text" ? listTexts() : listNumbers(model);
}

function listTexts() {
  const field = textInput({ label: "Texts, one a line", lines: 6, hint: "At least two to compare." });
  return {
    element: field.element,
    items: () => lines(field.value).map((row) => ({ row, name: row })),
    set: (rows) => (field.value = rows.map((row) => (Array.isArray(row) ? row.join(" ") : row)).join("\n")),
    destroy() {},
  };
}

/** How a row of numbers, of a table, or of several inputs is written, in a sentence. */
export function describeRow(model) {
  const columns = model.details?.table?.columns.map((column) => column.name);
  if (columns) return `A JSON object with ${columns.join(", ")}.`;
  const inputs = (model.inputs ?? []).map(({ name, shape }) => ({ name, sizes: showShape(shape.slice(1)) }));
  if (inputs.length === 1) return `Numbers of the shape ${inputs[0].sizes}, as JSON.`;
  return `A JSON object with ${inputs.map(({ name, sizes }) => `${name} ${sizes}`).join(", ")}.`;
}

function listNumbers(model) {
  const field = textInput({ label: "Rows, one a line", lines: 6, hint: describeRow(model) });
  return {
    element: field.element,
    items: () =>
      lines(field.value).map((line, i) => {
        try {
          return { row: JSON.parse(line), name: `Row ${i + 1}` };
        } catch {
          throw new Error(`Row ${i + 1}: expected JSON, such as [1, 2.5], got ${line.slice(0, 30)}`);
        }
      }),
    set: (rows) => (field.value = rows.map((row) => JSON.stringify(row)).join("\n")),
    destroy() {},
  };
}

function lines(text) {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
}

function listPictures(image, changed) {
  const kept = keepRows(changed);
  const add = h("button", { type: "button", onclick: keep, hidden: !isDrawable(image) }, "Add the drawing");
  const input = pictureInput({
    ...{ image, multiple: true },
    onPicture(picture) {
      if (picture.blob instanceof File) keep(); // a drawing may get more lines
    },
  });

  function keep() {
    const { picture } = input;
    if (!picture) return;
    kept.add({ row: picture.asRow(), name: picture.blob.name ?? `Drawing ${kept.next()}`, url: picture.dataUrl });
    input.clear();
  }

  return {
    element: h("div", null, input.element, h("p", { class: "row" }, add), kept.element),
    items: kept.items,
    async set(rows) {
      const files = await Promise.all(rows.map((row) => fileOfRow(row, image)));
      const pictures = await Promise.all(files.map((file) => file && readPicture(file)));
      kept.set(rows.map((row, i) => ({ row, name: `Picture ${i + 1}`, url: pictures[i]?.dataUrl })));
    },
    destroy: () => input.destroy(),
  };
}

function listSounds({ longest_s }, changed) {
  const kept = keepRows(changed);
  const input = soundInput({
    ...{ longest_s, multiple: true },
    onSound({ asRow, name, blob }) {
      kept.add({ row: asRow(), name, sound: blob });
      input.clear();
    },
  });
  return {
    element: h("div", null, input.element, kept.element),
    items: kept.items,
    set: (rows) => kept.set(rows.map((row, i) => ({ row, name: `Sound ${i + 1}`, sound: row?.sound && blobOfRow(row) }))),
    destroy: () => input.destroy(),
  };
}

/** The rows that have been added, each with a button that takes it away. */
function keepRows(changed) {
  let items = [];
  let count = 0;
  const list = h("ul", { class: "kept-rows" });
  const told = h("p", { class: "muted", role: "status" }, "Nothing added yet.");

  function show() {
    told.textContent = items.length ? `${plural(items.length, "row")} to compare.` : "Nothing added yet.";
    replace(
      list,
      items.map((item) => h("li", null, showItem(item), removeButton(item))),
    );
    changed();
  }

  function removeButton(item) {
    const remove = () => {
      const at = items.indexOf(item);
      items = items.filter((each) => each !== item);
      show();
      const next = list.children[Math.min(at, items.length - 1)]; // the button that had the focus is gone
      next?.querySelector("button").focus();
    };
    const props = { type: "button", class: "quiet small", "aria-label": `Remove ${item.name}`, onclick: remove };
    return h("button", props, "×");
  }

  return {
    element: h("div", null, told, list),
    items: () => items,
    next: () => (count += 1),
    add(item) {
      items = [...items, item];
      show();
    },
    set(given) {
      items = given;
      count = given.length;
      show();
    },
  };
}

/** An item as a small picture, a player, or its name. */
export function showItem({ name, url, sound }) {
  if (url) {
    const image = h("img", { class: "pixels", src: url, alt: "" });
    return h("span", { class: "thumb-picture" }, image, h("span", null, name));
  }
  if (sound) return h("span", { class: "thumb-sound" }, name, audioOf(sound, name));
  return h("span", { class: "thumb-text", title: name }, name);
}
