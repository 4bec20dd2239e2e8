/** Any model by its tensors: a form made from the signature. */

import { h, replace } from "../dom.js";

export const title = "Tensors";

/** @type {import("./index.js").Workbench["mount"]} */
export function mount(parent, model) {
  replace(parent, h("p", { class: "note" }, `The form for ${model.name} is being built.`));
  return { unmount: () => undefined };
}
