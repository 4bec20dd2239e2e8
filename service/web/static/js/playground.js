/**
 * The playground: all models as cards, and the workbench of the one that is chosen by `#model=name`.
 */

import { ask, get, getExamples, getModels, stream } from "./api.js";
import { modelCard, modelHead, showTraffic } from "./cards.js";
import { h, replace } from "./dom.js";
import { select } from "./fields.js";
import { getMetrics } from "./metrics.js";
import { showError } from "./result.js";
import { tasksOf, TITLES, workbenchOf } from "./tasks/index.js";

const MAIN = document.getElementById("main");
const POLL_MS = 5000;
const FIRST_POLL_MS = 1000; // a rate needs two readings

/** @type {import("./api.js").Model[]} */
let models = [];
let open = null; // the workbench on the page
let turn = 0; // counts the pages shown, so that a slow one does not overwrite the next

async function start() {
  try {
    models = await getModels();
  } catch (error) {
    showError(MAIN, error);
    return;
  }
  addEventListener("hashchange", () => route(true));
  document.querySelector(".skip").addEventListener("click", skip);
  await route(false);
  watchTraffic();
}

/** The link to the content would otherwise replace the model in the address. */
function skip(event) {
  event.preventDefault();
  MAIN.focus();
}

/** What the address asks for. */
function wanted() {
  return new URLSearchParams(location.hash.slice(1));
}

async function route(focus) {
  const now = ++turn;
  open?.unmount();
  open = null;
  const model = models.find(({ name }) => name === wanted().get("model"));
  if (!model) {
    showModels(wanted().get("model"));
    if (focus) MAIN.focus();
    return;
  }
  document.title = `${model.name} – Sluice`;
  const bench = h("div", { class: "workbench" });
  const head = modelHead(model);
  replace(MAIN, h("p", null, h("a", { href: "#", class: "back" }, "All models")), head, choices(model), bench);
  if (focus) head.querySelector("h1").focus();
  scrollTo(0, 0);
  await mount(bench, model, now);
}

/** The tasks of a model and its versions, where there are several. */
function choices(model) {
  const tasks = tasksOf(model);
  const current = wanted().get("task") ?? tasks[0];
  const links = tasks.map((task) =>
    h("a", { href: hashOf({ task }), "aria-current": task === current ? "true" : null }, TITLES[task]),
  );
  const versions = model.versions.filter(({ state }) => state === "READY").map(({ version }) => version);
  const choose = (version) => (location.hash = hashOf({ version }));
  const options = [{ value: "", label: `default (${model.serving})` }, ...versions];
  const version = versions.length > 1 ? select("Version", options, choose, wanted().get("version") ?? "") : null;
  return h(
    "div",
    { class: "choices" },
    links.length > 1 ? h("nav", { class: "tabs", "aria-label": "What to do with this model" }, links) : null,
    version?.element,
  );
}

function hashOf(changes) {
  const parameters = wanted();
  for (const [name, value] of Object.entries(changes)) {
    if (value) parameters.set(name, value);
    else parameters.delete(name);
  }
  return `#${parameters}`;
}

async function mount(bench, model, now) {
  if (!model.ready && model.on_demand) {
    replace(bench, offerLoad(bench, model));
    return;
  }
  if (!model.ready) {
    replace(bench, h("p", { class: "note" }, "This model does not serve now, so it cannot be tried."));
    return;
  }
  try {
    const module = await workbenchOf(model, wanted().get("task") ?? undefined);
    if (now === turn) open = module.mount(bench, model, serverOf(wanted().get("version")));
  } catch (error) {
    if (now === turn) showError(bench, error);
  }
}

/** A model that was never loaded is loaded by whoever asks whether it is ready. */
function offerLoad(bench, model) {
  const load = async () => {
    button.disabled = true;
    try {
      await get(`v2/models/${encodeURIComponent(model.name)}/ready`);
      models = await getModels();
      await route(true);
    } catch (error) {
      showError(bench, error);
    }
  };
  const button = h("button", { type: "button", onclick: load }, "Load it");
  return h("p", { class: "note" }, "This model is loaded when it is asked for. ", button);
}

/** `ask` and `stream` that name the chosen version in each request. */
function serverOf(version) {
  const withVersion = (body) =>
    version && body && Object.getPrototypeOf(body) === Object.prototype && !("version" in body) ? { ...body, version } : body;
  return {
    getExamples,
    ask: (route, body, options) => ask(route, withVersion(body), options),
    stream: (route, body, options) => stream(route, withVersion(body), options),
  };
}

/** All models; `missing` is a name in the address that none of them has. */
function showModels(missing) {
  document.title = "Sluice playground";
  const ready = models.filter((model) => model.ready).length;
  const grid = h("div", { class: "cards" }, models.map(modelCard));
  const count = h("p", { class: "muted", role: "status" });
  const tasks = [...new Set(models.map((model) => model.task).filter(Boolean))];
  const search = h("input", { type: "search", id: "search", placeholder: "Search", "aria-label": "Search the models" });
  const chosen = h(
    "select",
    { "aria-label": "Show models of one task" },
    h("option", { value: "" }, "All tasks"),
    tasks.map((task) => h("option", { value: task }, TITLES[task] ?? task)),
  );

  function filter() {
    const text = search.value.trim().toLowerCase();
    let shown = 0;
    for (const [i, card] of [...grid.children].entries()) {
      const model = models[i];
      const fits = !chosen.value || (model.tasks ?? [model.task]).includes(chosen.value);
      card.hidden = !fits || !`${model.name} ${model.description ?? ""}`.toLowerCase().includes(text);
      shown += card.hidden ? 0 : 1;
    }
    replace(count, shown === models.length ? `${ready} of ${models.length} models are ready.` : `${shown} of ${models.length} models are shown.`);
  }

  search.addEventListener("input", filter);
  chosen.addEventListener("change", filter);
  const tools = h("div", { class: "tools", role: "search" }, search, chosen);
  const intro = h("div", { class: "intro" }, h("h1", null, "Models"), count, models.length > 1 ? tools : null);
  const empty = h("p", { class: "note" }, "The store has no models yet. Export one, or set SLUICE_STORE to another folder.");
  const note = missing ? h("p", { class: "error", role: "alert" }, `This server has no model called ${missing}.`) : null;
  replace(MAIN, intro, note, models.length ? grid : empty);
  filter();
}

/** The figures of traffic, read again while the page is visible. */
async function watchTraffic() {
  let [before, at, first] = [null, 0, true];
  for (;;) {
    if (!document.hidden) {
      try {
        const metrics = await getMetrics();
        const time = performance.now();
        showTraffic(metrics, before, (time - at) / 1000);
        [before, at] = [metrics, time];
      } catch {
        // The server is away for a moment: the next reading tells.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, first ? FIRST_POLL_MS : POLL_MS));
    first = false;
  }
}

start();
