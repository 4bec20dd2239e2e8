/** segment: the label of each pixel, as colours over the picture. */

import { exampleButtons } from "../bench.js";
import { replace } from "../dom.js";
import { makeFormBench } from "../form_bench.js";
import { pictureInput } from "../pictures/picture_input.js";
import { readLabels } from "../pictures/label_map.js";
import { makeSegments } from "../pictures/areas.js";

const MOST_COLOURS = 256; // labels that fit in a picture with a palette

/** @type {import("./index.js").Workbench["mount"]} */
export function mount(parent, model, server) {
  const { image = {} } = model.details ?? {};
  const input = pictureInput({ image, onPicture: () => bench.run() });
  const examples = exampleButtons(server, model, "segment", ({ body }) => input.setRow(body.inputs[0]));
  const bench = makeFormBench(parent, {
    fields: [input.element],
    examples,
    runText: "Mark areas",
    hint: "Give a picture. Its areas appear here.",
    work,
  });

  async function work(signal, outcome) {
    const given = input.picture;
    if (!given) {
      bench.clear("First give a picture.");
      return null;
    }
    const body = { model: model.name, inputs: [given.asRow()] };
    if (model.labels.length > MOST_COLOURS) body.mask_format = "numbers";
    const answer = await server.ask("segment", body, { signal });
    const [found] = answer.json.predictions;
    const pixels = await readLabels(found.mask, found.width, found.height);
    signal.throwIfAborted(); // a later request may have begun meanwhile
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
