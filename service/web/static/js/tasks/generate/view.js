/** What generate answers: tiles with rows, the way between two of them, and a diffusion while it runs. */

import { h, replace } from "../../dom.js";
import { makePlayer } from "../../player.js";
import { saveLink, showRow } from "../../rows/view.js";

const MOST_KEPT = 64 << 20; // letters of pictures in base64; beyond it only the last step of each row is kept

/** All rows of an answer as tiles. */
export function showGallery({ outputs, labels, seed }) {
  return h(
    "ul",
    { class: "gallery" },
    outputs.map((row, i) => h("li", null, makeTile(row, labels?.[i], i, `${seed}-${i + 1}`))),
  );
}

function nameOf(label, i) {
  return label === undefined ? `Row ${i + 1}` : label;
}

function makeTile(row, label, i, file) {
  const name = nameOf(label, i);
  return h(
    "figure",
    { class: "tile" },
    showRow(row, label === undefined ? name : `${name}, row ${i + 1}`),
    h("figcaption", null, h("span", null, name), saveLink(row, `generated-${file}`)),
  );
}

/** The rows from one seed to another: one large, chosen by a slider, and all of them in a strip. */
export function showWay({ outputs, labels, seeds }) {
  const large = h("div", { class: "way-frame" });
  const strip = outputs.map((row, i) => h("li", null, showRow(row, `Frame ${i + 1}`)));
  const player = makePlayer("Frame", outputs.length, (frame) => {
    replace(large, showRow(outputs[frame], `Frame ${frame + 1} of ${outputs.length}, ${labels?.[frame] ?? ""}`));
    strip.forEach((item, i) => item.classList.toggle("is-shown", i === frame));
  });
  player.choose(0);
  const names = seeds.map((seed) => h("span", null, `Seed ${seed}`));
  const ends = h("p", { class: "way-ends muted" }, names);
  return h("div", { class: "way" }, large, player.element, ends, h("ul", { class: "strip" }, strip));
}

/**
 * Tiles that follow the events of a diffusion: those of a row come in order, those of different rows in any.
 * @param {string[] | undefined} labels of the rows, if they have any @param {number} count of rows
 */
export function showDiffusion(labels, count) {
  const frames = Array.from({ length: count }, () => []);
  const names = frames.map((_, i) => nameOf(labels?.[i], i));
  const tiles = names.map(() => h("div", { class: "tile-frame" }));
  const captions = names.map((name) => h("figcaption", null, name));
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Steps done" });
  const note = h("p", { class: "muted" }, "Waiting for the first step…");
  const controls = h("div", null, bar, note);
  const list = tiles.map((tile, i) => h("li", null, h("figure", { class: "tile" }, tile, captions[i])));
  let [done, steps, kept] = [0, 0, 0];

  function show(row, frame) {
    replace(tiles[row], showRow(frames[row][frame], `${names[row]}, row ${row + 1}, step ${frame + 1}`));
  }

  function add({ row, step, steps: all, preview }) {
    kept += preview.image?.length ?? 0;
    if (kept > MOST_KEPT) frames[row] = [];
    frames[row].push(preview);
    steps = all;
    done += 1;
    Object.assign(bar, { max: steps * count, value: done });
    note.textContent = `Step ${Math.ceil(done / count)} of ${steps}`;
    replace(tiles[row], showRow(preview, `${names[row]}, row ${row + 1}, step ${step + 1}`));
  }

  /** The steps that have come for all rows can be looked at again. */
  function review() {
    const length = Math.min(...frames.map((each) => each.length));
    if (length < 2 || kept > MOST_KEPT) {
      replace(controls);
      return;
    }
    const player = makePlayer("Step", length, (frame) => tiles.forEach((_, row) => show(row, frame)));
    player.choose(length - 1);
    replace(controls, player.element);
  }

  function finish({ outputs, labels: found, seed }) {
    outputs.forEach((row, i) => {
      frames[i].splice(-1, 1, row); // in place of the last preview
      show(i, frames[i].length - 1);
      replace(captions[i], h("span", null, nameOf(found?.[i], i)), saveLink(row, `generated-${seed}-${i + 1}`));
    });
    review();
  }

  function stopped() {
    review();
    const whole = Math.floor(done / count);
    return whole ? `Cancelled after ${whole} of ${steps} steps.` : "Cancelled before the first step.";
  }

  const element = h("div", { class: "diffusion" }, controls, h("ul", { class: "gallery" }, list));
  return { element, add, finish, stopped };
}
