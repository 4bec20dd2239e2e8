/** A slider through frames, with a button that plays them: the steps of a diffusion, or the way between two rows. */

import { h } from "./dom.js";

const FRAME_MS = 120;

/**
 * @param {string} label what the slider chooses
 * @param {number} count of frames, at least 1
 * @param {(frame: number) => void} show is called with the place of a frame, from 0
 * @returns {{element: HTMLElement, choose: (frame: number) => void, stop: () => void}}
 */
export function makePlayer(label, count, show) {
  let timer = 0;
  const range = h("input", { type: "range", min: 0, max: count - 1, step: 1, "aria-label": label });
  const told = h("output", { class: "player-told" });
  const play = h("button", { type: "button", class: "small", onclick: toggle }, "Play");
  range.addEventListener("input", () => {
    stop();
    choose(Number(range.value));
  });

  function choose(frame) {
    range.value = String(frame);
    told.textContent = `${label} ${frame + 1} of ${count}`;
    range.setAttribute("aria-valuetext", told.textContent);
    show(frame);
  }

  function toggle() {
    if (timer) {
      stop();
      return;
    }
    play.textContent = "Pause";
    let frame = Number(range.value) < count - 1 ? Number(range.value) : -1;
    timer = setInterval(() => {
      frame += 1;
      choose(frame);
      if (frame >= count - 1 || !range.isConnected) stop();
    }, FRAME_MS);
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  }

  const element = h("div", { class: "player" }, play, range, told);
  return { element, choose, stop };
}
