/** generate: rows from noise, as a gallery, as the way from one seed to another, or as a diffusion while it runs. */

import { exampleButtons } from "../bench.js";
import { replace } from "../dom.js";
import { makeFormBench } from "../form_bench.js";
import { duration, plural } from "../format.js";
import { makeForm } from "./generate/form.js";
import { showDiffusion, showGallery, showWay } from "./generate/view.js";

const HINT = "The same seed gives the same rows again. Without a seed, each time brings others.";

/** @type {import("./index.js").Workbench["mount"]} */
export function mount(parent, model, server) {
  const facts = model.details.generation;
  const form = makeForm(model, () => bench.run());
  let running = null; // the view of a diffusion that has begun
  const examples = exampleButtons(server, model, "generate", ({ body }) => {
    form.use(body);
    bench.run();
  });
  const bench = makeFormBench(parent, {
    fields: form.elements,
    examples,
    ...{ runText: "Generate", hint: HINT, work, keepsOutcome: true },
    cancelled: () => running?.stopped(),
  });

  async function work(signal, outcome) {
    const body = { model: model.name, ...form.body() };
    if (facts.picture) body.output_format = "picture";
    running = null;
    if (facts.diffusion) return diffuse({ ...body, stream: true }, signal, outcome);
    const answer = await server.ask("generate", body, { signal });
    const show = body.interpolate ? showWay : showGallery;
    replace(outcome, show(answer.json));
    return { answer, told: tell(answer.json) };
  }

  async function diffuse(body, signal, outcome) {
    const began = performance.now();
    const view = showDiffusion(form.namesOf(body.count), body.count);
    running = view;
    replace(outcome, view.element);
    try {
      for await (const { event, data, answer } of server.stream("generate", body, { signal })) {
        if (event === "done") {
          view.finish(data);
          const request = { route: "/generate", body, accept: "text/event-stream" };
          return { request, answer, told: tell(data, performance.now() - began) };
        }
        view.add(data);
      }
    } catch (error) {
      view.stopped(); // what has come stays
      throw error;
    }
    view.stopped();
    throw new Error("The stream ended before its last event. Ask again.");
  }

  return { unmount: bench.unmount };
}

function tell({ outputs, seed, seeds }, tookMs) {
  const rows = plural(outputs.length, "row");
  if (seeds) return `${rows} on the way from seed ${seeds[0]} to seed ${seeds[1]}.`;
  return `${rows} from seed ${seed}${tookMs === undefined ? "" : ` in ${duration(tookMs / 1000)}`}.`;
}
