/** A workbench whose form is sent by a button: the user can give the request up, and what has come of it stays. */

import { h, replace } from "./dom.js";
import { showAnswer, showError } from "./result.js";

const SLOW_MS = 400; // a shorter wait needs no words

/**
 * @typedef {{told: string, answer?: import("./api.js").Answer, request?: import("./api.js").AskedRequest}} Done
 *   `told` is a sentence about the answer, which screen readers say. A stream has the request alone
 */

/**
 * Builds a workbench in `parent`.
 * @param {HTMLElement} parent
 * @param {{fields: any[], examples: HTMLElement, runText: string, hint: string,
 *   work: (signal: AbortSignal, outcome: HTMLElement) => Promise<Done | null>,
 *   cancelled?: () => string | undefined, keepsOutcome?: boolean}} parts
 *   `work` asks the server and fills `outcome`; null: there is nothing to ask yet. `cancelled` says how far it has
 *   come. `keepsOutcome`: what came before a failure is worth keeping
 */
export function makeFormBench(parent, { fields, examples, runText, hint, work, cancelled, keepsOutcome = false }) {
  let current = null;
  let isOver = false;
  const view = layOut(fields, examples, runText, { run, cancel });
  replace(parent, view.element);
  view.tell(hint, true);

  async function run() {
    if (isOver) return;
    current?.abort();
    const mine = new AbortController();
    current = mine;
    view.setBusy(true);
    const slow = setTimeout(() => view.tell("The server works on it…"), SLOW_MS);
    try {
      const done = await work(mine.signal, view.outcome);
      if (!mine.signal.aborted && done !== null) view.finish(done);
    } catch (error) {
      if (!mine.signal.aborted) view.fail(error, keepsOutcome);
    } finally {
      clearTimeout(slow);
      if (current === mine) view.setBusy(false);
    }
  }

  function cancel() {
    current?.abort();
    view.tell(cancelled?.() ?? "Cancelled.");
    view.setBusy(false);
  }

  return {
    run,
    tell: view.tell,
    /** Forget an answer that no longer belongs to what the form has, and say what is missing. */
    clear(text = hint) {
      current?.abort();
      view.empty();
      view.tell(text, true);
    },
    unmount() {
      isOver = true;
      current?.abort();
      replace(parent);
    },
  };
}

/** The two sides, and what can be seen on them. */
function layOut(fields, examples, runText, { run, cancel }) {
  const start = h("button", { type: "submit", class: "primary" }, runText);
  const stop = h("button", { type: "button", hidden: true, onclick: giveUp }, "Cancel");
  const told = h("p", { class: "bench-told", role: "status" });
  const outcome = h("div", { class: "bench-outcome" });
  const problem = h("div", { class: "bench-problem" });
  const about = h("div", null);
  const form = h("form", { onsubmit: submit }, fields, h("p", { class: "row" }, start, stop));
  const input = h("section", { class: "card", "aria-label": "Input" }, form, examples);
  const result = h("section", { class: "card answer-card", "aria-label": "Answer" }, told, problem, outcome, about);

  function submit(event) {
    event.preventDefault();
    run();
  }

  function giveUp() {
    cancel();
    start.focus(); // the button that had the focus is gone
  }

  function tell(text, isHint = false) {
    told.textContent = text;
    for (const name of ["muted", "empty"]) told.classList.toggle(name, isHint);
  }

  return {
    element: h("div", { class: "columns" }, input, result),
    outcome,
    tell,
    setBusy(busy) {
      result.setAttribute("aria-busy", String(busy));
      stop.hidden = !busy;
      if (busy) replace(problem);
    },
    finish(done) {
      tell(done.told);
      showAnswer(about, done);
    },
    fail(error, keepsOutcome) {
      tell("");
      replace(about);
      if (!keepsOutcome) replace(outcome); // it would belong to another request
      showError(problem, error);
    },
    empty() {
      for (const part of [problem, outcome, about]) replace(part);
    },
  };
}

/** Calls `then` when nothing has happened for a moment, as after the last move of a slider. */
export function settle(then, waitMs = 250) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(then, waitMs);
  };
}
