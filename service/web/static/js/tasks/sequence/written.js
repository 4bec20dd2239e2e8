/** A text that a model writes or reads: as it grows, and what is known of it at its end. */

import { h, replace } from "../../dom.js";
import { percent, plural } from "../../format.js";

/**
 * @param {string} title empty where there is only one text
 * @returns {{element: HTMLElement, grow: (text: string, window?: number) => void, finish: (prediction: any) => void}}
 */
export function writtenText(title) {
  const text = h("p", { class: "written", "aria-busy": "true" });
  const facts = h("p", { class: "muted small" });
  const element = h("div", { class: "written-card" }, title ? h("h3", null, title) : null, text, facts);
  const windows = [];
  return {
    element,
    grow(grown, window) {
      if (window === undefined) text.textContent = grown;
      else {
        windows[window] = grown;
        text.textContent = Array.from(windows, (part) => part ?? "…").join(" ");
      }
    },
    finish(prediction) {
      text.textContent = prediction.text || "(nothing)";
      text.setAttribute("aria-busy", "false");
      replace(facts, describe(prediction));
    },
  };
}

function describe({ probability, tokens, complete, log_probability: log }) {
  const parts = [
    `probability ${probability < 1e-3 && log !== undefined ? `e^${log.toFixed(1)}` : percent(probability)}`,
  ];
  if (tokens !== undefined) parts.push(plural(tokens, "token"));
  if (complete === false) parts.push("cut at the longest length");
  return parts.join(" · ");
}

/**
 * The symbols over the picture that they were read from.
 * @param {{dataUrl: string, width: number, height: number}} picture
 * @param {{text: string, probability: number, left: number, right: number}[]} pieces
 */
export function showPieces(picture, pieces) {
  const spots = pieces.map(({ text, probability, left, right }) => {
    const style = {
      left: `${(left / picture.width) * 100}%`,
      width: `${(Math.max(1, right - left) / picture.width) * 100}%`,
    };
    return h("li", { style, title: percent(probability) }, text);
  });
  return h(
    "figure",
    { class: "pieces" },
    h("img", { src: picture.dataUrl, alt: "The picture that was read", class: picture.width < 64 ? "pixels" : null }),
    h("ol", { "aria-label": "Symbols, in their places" }, spots),
  );
}

/** Symbols or windows of a sound as parts of its time line. */
export function partsOf({ windows, pieces }) {
  if (windows)
    return windows.map(({ begin_s, end_s, text, probability }) => ({
      begin_s,
      end_s,
      text,
      note: percent(probability),
    }));
  return (pieces ?? [])
    .filter(({ start }) => start !== undefined)
    .map(({ start, end, text, probability }) => ({ begin_s: start, end_s: end, text, note: percent(probability) }));
}
