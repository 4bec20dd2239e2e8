/** reconstruct: a picture, a sound or numbers before and after, where they differ, and whether that is too much. */

import { exampleButtons } from "../bench.js";
import { replace } from "../dom.js";
import { checkbox, jsonInput, select } from "../fields.js";
import { makeFormBench } from "../form_bench.js";
import { number } from "../format.js";
import { pictureInput } from "../pictures/picture_input.js";
import { describeRow, rowKind } from "../rows/list.js";
import { soundInput } from "../sounds/sound_input.js";
import { showNumbers, showPictures, showSounds, showVerdict } from "./reconstruct/view.js";

/** @type {import("./index.js").Workbench["mount"]} */
export function mount(parent, model, server) {
  const { reconstruction: facts = {}, image } = model.details ?? {};
  const kind = rowKind(model);
  const input = makeInput(kind, model, () => bench.run());
  const graphs = facts.graphs ?? [];
  const graph = graphs.length > 1 ? select("Graph", graphs, () => bench.run()) : null;
  const map = kind === "picture" ? checkbox("Show where they differ", true, () => bench.run()) : null;
  const examples = exampleButtons(server, model, "reconstruct", ({ body }) => {
    if (graph) graph.value = body.graph ?? graphs[0];
    input.set(body.inputs[0]);
  });
  const bench = makeFormBench(parent, {
    fields: [input.element, graph?.element, map?.element],
    examples,
    runText: "Reconstruct",
    hint: "Give a row. It appears here before and after.",
    work,
  });

  async function work(signal, outcome) {
    const given = input.row();
    if (given === null) {
      bench.clear("First give a row.");
      return null;
    }
    const body = { model: model.name, inputs: [given.row], ...formOf(kind, model) };
    if (graph && graph.value !== graphs[0]) body.graph = graph.value;
    if (map?.value) body.error_map = true;
    const answer = await server.ask("reconstruct", body, { signal });
    const [found] = answer.json.predictions;
    const show = { picture: showPictures, sound: showSounds }[kind] ?? showNumbers;
    const view = await show(given, found, image);
    signal.throwIfAborted(); // a later request may have begun meanwhile
    replace(outcome, showVerdict(found), view);
    return { answer, told: tell(found) };
  }

  return {
    unmount() {
      input.destroy();
      bench.unmount();
    },
  };
}

/** Pictures are asked for where the output is one: [batch, channels, height, width]. */
function formOf(kind, model) {
  if (kind === "sound") return { output_format: "sound" };
  const output = model.outputs?.find((each) => each.name === model.details?.reconstruction?.output);
  if (kind !== "picture" || output?.shape.length !== 4) return {};
  return output.shape[1] === model.details.image.channels ? { output_format: "picture" } : {};
}

function tell({ error, anomaly }) {
  const verdict = anomaly === undefined ? "" : anomaly ? "This is an anomaly. " : "This looks as usual. ";
  return `${verdict}Before and after differ by ${number(error)}.`;
}

/**
 * @typedef {{row: any, blob?: Blob, picture?: import("../pictures/picture_input.js").PictureValue}} Given a row, and its file
 * @returns {{element: any, row: () => Given | null, set: (row: any) => void, destroy: () => void}} `set` asks at once
 */
function makeInput(kind, model, given) {
  if (kind === "picture") return takePicture(model.details.image, given);
  if (kind === "sound") return takeSound(model.details.sound, given);
  const field = jsonInput({ label: "The row", hint: describeRow(model) });
  return {
    element: field.element,
    row() {
      if (!field.field.value.trim()) return null;
      const row = field.value;
      if (row === undefined) throw new Error("The row: expected JSON, such as [1, 2, 3].");
      return { row };
    },
    set(row) {
      field.value = row;
      given();
    },
    destroy() {},
  };
}

function takePicture(image, given) {
  const input = pictureInput({ image, onPicture: given });
  return {
    element: input.element,
    row: () => input.picture && { row: input.picture.asRow(), picture: input.picture },
    set: (row) => input.setRow(row),
    destroy: () => input.destroy(),
  };
}

function takeSound({ longest_s }, given) {
  const input = soundInput({ longest_s, onSound: given });
  return {
    element: input.element,
    row: () => input.sound && { row: input.sound.asRow(), blob: input.sound.blob },
    set: (row) => input.setRow(row),
    destroy: () => input.destroy(),
  };
}
