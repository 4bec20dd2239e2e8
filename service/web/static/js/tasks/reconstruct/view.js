/** What reconstruct answers: a verdict, and the row before and after. */

import { audioOf, blobOfRow } from "../../blobs.js";
import { h } from "../../dom.js";
import { number } from "../../format.js";
import { isSmall, loadImage, paintNumbers, pictureUrl, scaleImage } from "../../pictures/pictures.js";
import { drawCurves, saveLink, showPicture } from "../../rows/view.js";
import { readSamples } from "../../sounds/recorder.js";
import { soundTimeline } from "../../sounds/timeline.js";
import { makeTable } from "../../table.js";

const MOST_LISTED = 100; // numbers in the table

/** Whether the row is an anomaly, with its score beside the threshold; nothing for a model that has none. */
export function showVerdict({ error, anomaly, score, threshold }) {
  if (anomaly === undefined) return null;
  const found = score ?? error;
  const most = Math.max(found, threshold) * 1.1;
  const scale = h(
    "div",
    { class: "verdict-scale", "aria-hidden": "true" },
    h("span", { class: "verdict-score", style: { width: `${(100 * found) / most}%` } }),
    h("span", { class: "verdict-limit", style: { left: `${(100 * threshold) / most}%` } }),
  );
  return h(
    "div",
    { class: anomaly ? "verdict is-anomaly" : "verdict" },
    h("strong", null, anomaly ? "Anomaly" : "As usual"),
    h("span", null, `Score ${number(found)}, limit ${number(threshold)}`),
    scale,
  );
}

/** A picture under a slider between before and after, and the map of the differences. */
export async function showPictures({ picture }, found, image) {
  const after = await imageOf(found.output, image);
  const before = await loadImage(picture.dataUrl);
  const [width, height] = [after.naturalWidth, after.naturalHeight];
  const seen = before && scaleImage(before, width, height, image.channels).toDataURL();
  const { error_map: map } = found;
  const heat = map && (map.image ? pictureUrl(map.image) : paintNumbers(map).toDataURL());
  const views = [
    ["Before", seen],
    ["After", after.src],
    ["Difference, strong where orange", heat],
  ].filter(([, url]) => url);
  const tiles = views.map(([name, url]) =>
    h("figure", { class: "tile" }, showPicture(url, name, width, height), h("figcaption", null, name)),
  );
  return h(
    "div",
    { class: "reconstruction" },
    seen ? makeSlider(seen, after.src, width, height) : null,
    h("div", { class: "side-by-side" }, tiles),
    h("p", null, saveLink(found.output, "reconstruction", "Save the picture after")),
  );
}

/** The picture of an output: a file, or numbers that are painted. */
async function imageOf(output, image) {
  if (output.image) return loadImage(pictureUrl(output.image));
  const scale = typeof image.scale === "number" ? image.scale : image.scale[0];
  const offset = typeof image.offset === "number" ? image.offset : image.offset[0];
  return loadImage(paintNumbers(output, [offset, 255 * scale + offset]).toDataURL());
}

/** Both pictures on top of each other; a slider over them says how much of each one sees. */
function makeSlider(before, after, width, height) {
  const name = "Left of here before, right of here after";
  const range = h("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": name });
  const kind = isSmall(width, height) ? "pixels" : null;
  const top = h("img", { src: before, alt: "", class: kind });
  const stage = h(
    "div",
    { class: "stage before-after", style: { "--ratio": width / height } },
    h("img", { src: after, alt: "", class: kind }),
    h("div", { class: "stage-layer before" }, top),
    h("span", { class: "before-after-line", "aria-hidden": "true" }),
    h("span", { class: "corner is-left", "aria-hidden": "true" }, "before"),
    h("span", { class: "corner is-right", "aria-hidden": "true" }, "after"),
    range,
  );
  const show = () => stage.style.setProperty("--at", `${range.value}%`);
  range.addEventListener("input", show);
  show();
  return stage;
}

/** A sound before and after, each as a wave with a player; a button goes from one to the other while it plays. */
export async function showSounds({ blob }, found) {
  const players = [await makeSound("Before", blob), await makeSound("After", blobOfRow(found.output))];
  const [before, after] = players.map((player) => player.audio);
  const swap = () => {
    const [from, to] = before.paused ? [after, before] : [before, after];
    from.pause();
    to.currentTime = Math.min(from.currentTime, to.duration || 0);
    to.play();
  };
  for (const [one, other] of [
    [before, after],
    [after, before],
  ]) {
    one.addEventListener("play", () => other.pause());
  }
  return h(
    "div",
    { class: "sounds" },
    players.map((player) => player.element),
    h("p", { class: "row" }, h("button", { type: "button", onclick: swap }, "Switch between before and after")),
  );
}

/** Without a wave where the browser cannot decode the sound. */
async function makeSound(name, blob) {
  const audio = audioOf(blob, name);
  const read = await readSamples(blob);
  const wave = read && soundTimeline({ audio, ...read });
  return { element: h("figure", { class: "sound" }, h("figcaption", null, name), wave, audio), audio };
}

/** Numbers before and after, as curves on one scale and as a table. */
export function showNumbers({ row }, found) {
  const [before, after] = [row, found.output].map((values) => Object.values(values).flat(Infinity));
  const curves = [
    { name: "Before", values: before },
    { name: "After", values: after },
  ];
  const lines = after.slice(0, MOST_LISTED).map((value, i) => [i, number(before[i]), number(value)]);
  const table = makeTable(["Position", "Before", "After"], lines);
  return h("div", null, drawCurves(curves, "Before and after"), h("div", { class: "scroll" }, table));
}
