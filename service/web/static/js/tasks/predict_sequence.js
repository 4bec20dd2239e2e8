/** The workbench of models that predict sequences: series to forecasts; texts, pictures and sounds to texts. */

import { mountSeries } from "./sequence/series.js";
import { mountTexts } from "./sequence/texts.js";

/** @type {import("./index.js").Workbench["mount"]} */
export function mount(parent, model, server) {
  return model.details?.forecast ? mountSeries(parent, model, server) : mountTexts(parent, model, server);
}
