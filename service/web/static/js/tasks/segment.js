/** segment: the label of each pixel, as colours over the picture. */

import { makeBench, makeExamples } from "../bench.js";
import { replace } from "../dom.js";
import { pictureInput } from "../inputs.js";
import { readLabels } from "../pictures/label_map.js";
import { fileOfRow, isDrawable } from "../pictures/pictures.js";
import { makeSegments } from "../pictures/areas.js";

export const title = "Mark areas of a picture";

const MOST_COLOURS = 256; // labels that fit in a picture with a palette

/** @type {import("./index.js").Workbench["mount"]} */
export function mount(parent, model, { ask, getExamples }) {
  const { image = {} } = model.details ?? {};
  let picture = null;
  const input = pictureInput({
    ...{ drawable: isDrawable(image), width: image.width ?? 1, height: image.height ?? 1 },
    onPicture(given) {
      picture = given;
      bench.run();
    },
  });
  const examples = makeExamples(getExamples(model.name, "segment"), async (body) => {
    const file = await fileOfRow(body.inputs[0], image);
    if (file) await input.set(file);
  });
  const bench = makeBench(parent, {
    fields: [examples, input.element],
    runText: "Mark areas",
    hint: "Give a picture. Its areas appear here.",
    work,
  });

  async function work(signal, outcome) {
    if (!picture) {
      bench.tell("First give a picture.");
      return null;
    }
    const given = picture;
    const body = { model: model.name, inputs: [given.asRow()] };
    if (model.labels.length > MOST_COLOURS) body.mask_format = "numbers";
    const answer = await ask("segment", body, { signal });
    const [found] = answer.json.predictions;
    const pixels = await readLabels(found.mask, found.width, found.height);
    const view = makeSegments(found, pixels, { labels: model.labels, url: given.dataUrl });
    replace(outcome, view.element);
    return { answer, told: view.told };
  }

  return {
    unmount() {
      input.destroy();
      bench.unmount();
    },
  };
}
