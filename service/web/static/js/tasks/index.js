/**
 * Which workbench serves which task.
 *
 * A workbench is a module with `mount(parent, model, {ask, stream}) -> {unmount()}`, which builds everything
 * for a model in `parent`. `ask` and `stream` are those of `api.js`, with the version that the user chose.
 *
 * @typedef {{mount: (parent: HTMLElement, model: import("../api.js").Model, server: any) => {unmount: () => void}}} Workbench
 */

const TASKS = new Set([
  ...["classify", "detect", "segment", "regress", "embed", "predict_sequence", "reconstruct", "generate"],
  ...["pipeline", "tensors"],
]);

/** What a task does, for people. */
export const TITLES = {
  classify: "Classify",
  detect: "Detect",
  segment: "Segment",
  regress: "Estimate",
  embed: "Compare",
  predict_sequence: "Predict",
  reconstruct: "Reconstruct",
  generate: "Generate",
  pipeline: "Pipeline",
  tensors: "Tensors",
};

/**
 * The tasks of a model that have a workbench, its own first, tensors last.
 * @param {import("../api.js").Model} model
 * @returns {string[]}
 */
export function tasksOf(model) {
  const others = (model.tasks ?? []).filter((task) => task !== model.task && task !== "tensors");
  const own = model.task && model.task !== "tensors" ? [model.task] : [];
  return [...own, ...others, ...(model.inputs?.length ? ["tensors"] : [])].filter((task) => TASKS.has(task));
}

/**
 * The workbench of a model, for one of its tasks; that for tensors where there is no other.
 * @param {import("../api.js").Model} model
 * @param {string} [task]
 * @returns {Promise<Workbench>}
 */
export async function workbenchOf(model, task = tasksOf(model)[0]) {
  if (TASKS.has(task)) {
    try {
      return await import(`./${task}.js`);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // a module that is there but wrong
    }
  }
  return import("./tensors.js");
}
