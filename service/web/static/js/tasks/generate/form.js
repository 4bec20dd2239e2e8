/** The form of generate: what a model takes, and the body that it makes. */

import { h, uniqueId } from "../../dom.js";
import { numberInput, select, slider } from "../../fields.js";

const MOST_ROWS = 64;
const LARGEST_SEED = 1_000_000; // of those that are drawn: short enough to read out
const FEW = 4; // rows of a diffusion, which takes a while
const MANY = 12;

/**
 * @param {import("../../api.js").Model} model
 * @param {() => void} again is called when another seed has been drawn
 * @returns {{elements: any[], body: () => any, use: (body: any) => void,
 *   namesOf: (rows: number) => string[] | undefined}}
 *   `use` fills the form; `namesOf` are the labels that the rows will have, undefined for a model without labels
 */
export function makeForm(model, again) {
  const facts = model.details.generation;
  const label = facts.label && model.labels?.length ? makeLabels(model.labels) : null;
  const count = slider("Rows", 1, MOST_ROWS, 1, Math.min(facts.diffusion ? FEW : MANY, model.labels?.length || MANY));
  const seeds = makeSeeds(() => way?.value, again);
  const diffusion = facts.diffusion ? makeDiffusion(facts.diffusion, model.details.loop) : null;
  const way = facts.diffusion ? null : makeSwitch(choose);
  choose(false);

  function choose(isWay) {
    seeds.choose(isWay);
    rename(count, isWay ? "Frames" : "Rows");
    count.field.min = isWay ? 2 : 1;
    if (isWay && count.value < 2) count.value = 2;
    if (isWay) label?.chooseOne();
  }

  function body() {
    const labels = label?.of(count.value);
    return { count: count.value, ...(labels ? { labels } : {}), ...seeds.body(), ...diffusion?.body() };
  }

  function use(given) {
    way?.set(Boolean(given.interpolate));
    count.value = given.count ?? given.labels?.length ?? 1;
    label?.use(given.labels);
    seeds.use(given);
    diffusion?.use(given);
  }

  return {
    elements: [way?.element, label?.element, count.element, seeds.element, diffusion?.elements],
    body,
    use,
    namesOf: (rows) => label?.namesOf(rows),
  };
}

function rename(field, text) {
  field.element.querySelector("label").textContent = text;
}

const [IN_TURN, GIVEN] = ["turn", "given"];

/** One label for all rows, all in turn, or those of an example. */
function makeLabels(names) {
  const own = names.map((name, i) => ({ value: String(i), label: name }));
  const field = select("Label", [{ value: IN_TURN, label: "all in turn" }, ...own]);
  const option = h("option", { value: GIVEN, hidden: true });
  field.field.append(option);
  let given = [];

  function chosen() {
    if (field.value === IN_TURN) return names;
    return field.value === GIVEN ? given : [names[Number(field.value)]];
  }

  const namesOf = (rows) => Array.from({ length: rows }, (_, i) => chosen()[i % chosen().length]);
  return {
    element: field.element,
    namesOf,
    /** What goes into a request: nothing for all in turn, which is what the server does by itself. */
    of: (rows) => (field.value === IN_TURN ? undefined : chosen().length === 1 ? chosen() : namesOf(rows)),
    /** The ends of an interpolation have one label. */
    chooseOne() {
      if (chosen().length > 1) field.value = "0";
    },
    use(labels) {
      given = (labels ?? []).map(String);
      option.textContent = given.join(", ");
      option.hidden = given.length < 2;
      if (given.length === 1) field.value = String(names.indexOf(given[0]));
      else field.value = given.length ? GIVEN : IN_TURN;
    },
  };
}

/** One seed, or the two ends of an interpolation. */
function makeSeeds(isWay, again) {
  const first = numberInput({ label: "Seed", value: 1, min: 0, step: 1 });
  const last = numberInput({ label: "Last seed", value: 2, min: 0, step: 1 });
  const draw = () => Math.floor(Math.random() * LARGEST_SEED);
  const another = h("button", { type: "button", onclick: drawBoth }, "Another seed");

  function drawBoth() {
    first.value = draw();
    if (isWay()) last.value = draw();
    again();
  }

  return {
    element: h("div", { class: "row seeds" }, first.element, last.element, another),
    choose(on) {
      last.element.hidden = !on;
      rename(first, on ? "First seed" : "Seed");
    },
    body() {
      if (isWay()) return { interpolate: { seeds: [first.value ?? 0, last.value ?? 1] } };
      return first.value === null ? {} : { seed: first.value };
    },
    use({ seed, interpolate }) {
      first.value = interpolate?.seeds[0] ?? seed ?? null;
      last.value = interpolate?.seeds[1] ?? 2;
    },
  };
}

/** Whether rows are made one by one, or on the way between two seeds. */
function makeSwitch(changed) {
  const name = uniqueId("way");
  const radio = (checked) => h("input", { type: "radio", name, checked, onchange: () => changed(way.checked) });
  const [gallery, way] = [radio(true), radio(false)];
  const element = h(
    "fieldset",
    { class: "toggles" },
    h("legend", null, "What to make"),
    h("label", { class: "check" }, gallery, "A gallery"),
    h("label", { class: "check" }, way, "The way between two seeds"),
  );
  return {
    element,
    set(on) {
      (on ? way : gallery).checked = true;
      changed(on);
    },
    get value() {
      return way.checked;
    },
  };
}

function makeDiffusion(facts, loop) {
  const most = Math.min(facts.times, loop?.max_steps ?? facts.times);
  const usual = Math.min(facts.steps, most);
  const steps = slider("Steps", 1, most, 1, usual);
  const guidance = facts.guidance ? slider("Guidance by the label", 0, 5, 0.1, facts.default_guidance) : null;
  const eta = facts.eta ? slider("Noise between steps (eta)", 0, 1, 0.05, 0) : null;
  return {
    elements: [steps.element, guidance?.element, eta?.element],
    body: () => ({
      steps: steps.value,
      ...(guidance ? { guidance: guidance.value } : {}),
      ...(eta ? { eta: eta.value } : {}),
    }),
    use(given) {
      steps.value = given.steps ?? usual;
      if (guidance) guidance.value = given.guidance ?? facts.default_guidance;
      if (eta) eta.value = given.eta ?? 0;
    },
  };
}
