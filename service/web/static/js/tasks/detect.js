/** detect: boxes over a picture. The threshold filters what the server has answered, so it works while one moves it. */

import { exampleButtons } from "../bench.js";
import { h, replace } from "../dom.js";
import { checkbox, slider } from "../fields.js";
import { makeFormBench, settle } from "../form_bench.js";
import { pictureInput } from "../pictures/picture_input.js";
import { makeDetections } from "../pictures/boxes.js";

const FLOOR = 0.05; // boxes below it are hardly ever wanted, and are many
const USUAL = 0.25;

/** @type {import("./index.js").Workbench["mount"]} */
export function mount(parent, model, server) {
  const { detection = {}, image = {} } = model.details ?? {};
  const usual = detection.threshold ?? USUAL;
  const hasMasks = Boolean(detection.prototypes);
  const floor = hasMasks ? usual / 2 : Math.min(FLOOR, usual); // each mask is a picture
  let asked = null; // the threshold of the request whose answer is shown
  let view = null;

  const input = pictureInput({ image, onPicture: () => bench.run() });
  const examples = exampleButtons(server, model, "detect", ({ body }) => {
    threshold.value = body.threshold ?? usual;
    input.setRow(body.inputs[0]);
  });
  const threshold = slider("Least score", 0.01, 1, 0.01, usual, filter);
  const masks = hasMasks ? checkbox("Masks", true, () => bench.run()) : null;
  const bench = makeFormBench(parent, {
    fields: [input.element, masks?.element],
    examples,
    runText: "Find objects",
    hint: "Give a picture. Its boxes appear here.",
    work,
  });
  const askAgain = settle(bench.run);
  const place = h("div", null); // the slider stays when the boxes change, and keeps the focus

  function filter(least) {
    if (view) bench.tell(view.show(least));
    if (asked !== null && least < asked) askAgain();
  }

  async function work(signal, outcome) {
    const given = input.picture;
    if (!given) {
      bench.clear("First give a picture.");
      return null;
    }
    const least = Math.min(floor, threshold.value);
    const body = { model: model.name, inputs: [given.asRow()], threshold: least };
    if (masks && !masks.value) body.masks = false;
    const answer = await server.ask("detect", body, { signal });
    asked = least;
    view = makeDetections(answer.json.predictions[0], given);
    replace(place, view.element);
    if (!threshold.element.isConnected) replace(outcome, threshold.element, place);
    return { answer, told: view.show(threshold.value) };
  }

  return {
    unmount() {
      input.destroy();
      bench.unmount();
    },
  };
}
