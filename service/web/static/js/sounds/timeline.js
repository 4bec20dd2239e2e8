/** A sound as a drawing, with its windows below, which play their part when they are chosen. */

import { drawToWidth } from "../chart/frame.js";
import { h, replace, svg } from "../dom.js";
import { duration } from "../format.js";
import { findPeaks } from "./wav.js";

const HIGH = 72;
const SHORT = 0.15;

/**
 * @typedef {object} SoundPart
 * @property {number} begin_s
 * @property {number} end_s
 * @property {string} text
 * @property {string} [note]
 */

/**
 * @param {{audio: HTMLAudioElement, samples: Float32Array|null, seconds: number, parts?: SoundPart[]}} sound
 * @returns {HTMLElement}
 */
export function soundTimeline({ audio, samples, seconds, parts = [] }) {
  const drawing = svg("svg", { class: "waveform", role: "img", "aria-label": `A sound of ${duration(seconds)}` });
  const body = h("div", { class: "waveform-body" }, drawing);
  const lines = assignLines(parts);
  const areShort = parts.every(({ begin_s, end_s }) => (end_s - begin_s) / seconds < SHORT);
  const lanes = h(
    "ol",
    {
      class: `sound-parts${areShort ? " low" : ""}`,
      "aria-label": "Windows of the sound",
      style: { "--lines": Math.max(1, ...lines.map((line) => line + 1)) },
    },
    parts.map((part, i) => showPart(part, seconds, lines[i], () => play(part))),
  );
  const cursor = svg("line", { class: "chart-rule", y1: 0, y2: HIGH });
  let width = 0;
  const draw = () => {
    drawing.setAttribute("viewBox", `0 0 ${width} ${HIGH}`);
    drawing.setAttribute("width", width);
    drawing.setAttribute("height", HIGH);
    replace(drawing, samples ? svg("path", { class: "wave", d: drawWave(samples, width) }) : null, cursor);
    follow();
  };
  let end = Infinity; // of the part that plays
  const play = (part) => {
    end = part.end_s;
    audio.currentTime = part.begin_s;
    audio.play().catch(() => undefined); // a browser that does not read the file
  };
  const follow = () => {
    if (audio.currentTime >= end) {
      audio.pause();
      end = Infinity;
    }
    const x = seconds > 0 ? (audio.currentTime / seconds) * width : 0;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
  };
  audio.ontimeupdate = follow; // in place of an earlier drawing of the same sound
  drawing.addEventListener("click", (event) => {
    const box = drawing.getBoundingClientRect();
    audio.currentTime = ((event.clientX - box.left) / box.width) * seconds;
  });
  drawToWidth(body, (found) => {
    width = found;
    draw();
  });
  return h("div", { class: "timeline" }, body, parts.length ? lanes : null);
}

/** A button that plays the part. In a short one only the text has room. */
function showPart(part, seconds, line, onclick) {
  const says = [showTimes(part), part.text || "nothing", part.note].filter(Boolean).join(", ");
  const isShort = (part.end_s - part.begin_s) / seconds < SHORT;
  const button = { type: "button", onclick, title: says, "aria-label": `Play ${says}` };
  return h(
    "li",
    { style: place(part, seconds, line), class: isShort ? "short" : null },
    h(
      "button",
      button,
      isShort ? null : h("span", { class: "times" }, showTimes(part)),
      h("span", { class: "text" }, part.text || "–"),
      isShort || !part.note ? null : h("small", null, part.note),
    ),
  );
}

function drawWave(samples, width) {
  const count = Math.max(1, Math.floor(width / 2));
  return findPeaks(samples, count)
    .map((peak, i) => {
      const half = Math.max(0.5, (peak * HIGH) / 2 - 1);
      return `M${i * 2 + 1} ${(HIGH / 2 - half).toFixed(1)}V${(HIGH / 2 + half).toFixed(1)}`;
    })
    .join("");
}

/** Parts that overlap lie on different lines. */
function assignLines(parts) {
  const ends = [];
  return parts.map(({ begin_s, end_s }) => {
    let line = ends.findIndex((end) => end <= begin_s + 1e-6);
    if (line < 0) line = ends.length;
    ends[line] = end_s;
    return line;
  });
}

function place({ begin_s, end_s }, seconds, line) {
  const share = (at) => `${(Math.min(1, at / seconds) * 100).toFixed(3)}%`;
  return { "--begin": share(begin_s), "--width": share(Math.min(end_s, seconds) - begin_s), "--row": line };
}

function showTimes({ begin_s, end_s }) {
  return `${begin_s.toFixed(1)}–${end_s.toFixed(1)} s`;
}
