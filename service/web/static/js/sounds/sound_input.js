/** A field for a sound: recorded, dropped or chosen. */

import { h, replace } from "../dom.js";
import { acceptDrops, fileInput } from "../fields.js";
import { duration } from "../format.js";
import { readBase64 } from "../inputs.js";
import { showError } from "../result.js";
import { readSamples, record, whyNotRecord } from "./recorder.js";
import { soundTimeline } from "./timeline.js";

const TYPES = "audio/*,.wav,.flac,.ogg,.oga,.opus,.mp3";

/**
 * @typedef {object} SoundValue
 * @property {Blob} blob
 * @property {string} name
 * @property {number|null} seconds null for a file that the browser does not read
 * @property {() => Promise<{sound: string}>} asRow what goes into `inputs`
 */

/**
 * @param {{longest_s?: number, onSound: (sound: SoundValue) => void}} options
 * @returns {{element: HTMLElement, readonly sound: SoundValue|null, set: (blob: Blob, name?: string) => Promise<void>,
 *   showParts: (parts: import("./timeline.js").SoundPart[]) => void, destroy: () => void}}
 */
export function soundInput(options) {
  const input = new SoundInput(options);
  return {
    element: input.element,
    get sound() {
      return input.sound;
    },
    set: (blob, name) => input.set(blob, name),
    showParts: (parts) => input.show(parts),
    destroy: () => input.destroy(),
  };
}

class SoundInput {
  constructor({ longest_s = 600, onSound }) {
    Object.assign(this, { longest_s, onSound, sound: null, samples: null, recording: null });
    this.button = h("button", { type: "button", class: "record", onclick: () => this.toggle() }, "Record");
    this.meter = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Loudness" });
    this.time = h("span", { role: "timer", class: "muted" });
    this.wrong = h("div");
    this.view = h("div", { class: "sound-view" });
    this.audio = h("audio", { controls: true, hidden: true });
    const file = fileInput({
      label: "Choose a sound",
      accept: TYPES,
      hint: "or drop it here: WAV, FLAC, OGG or MP3",
      onFile: (found) => this.set(found, found.name),
    });
    const why = whyNotRecord();
    this.button.disabled = Boolean(why);
    this.element = h(
      "div",
      { class: "sound-input", role: "group", "aria-label": "Sound" },
      file.element,
      h("div", { class: "row" }, this.button, this.meter, this.time),
      why ? h("small", { class: "hint" }, why) : null,
      this.wrong,
      this.view,
      this.audio,
    );
    acceptDrops(this.element, (files) => this.set(files[0], files[0].name));
  }

  async toggle() {
    if (this.recording) {
      this.recording.stop();
      return;
    }
    replace(this.wrong);
    this.button.disabled = true;
    try {
      this.recording = await record({
        longest_s: this.longest_s,
        onLevel: (level, seconds) => this.hear(level, seconds),
        onEnd: (blob) => this.end(blob),
      });
      this.setRecording(true);
    } catch (error) {
      showError(this.wrong, error);
    } finally {
      this.button.disabled = false;
    }
  }

  hear(level, seconds) {
    this.meter.value = Math.sqrt(level);
    replace(this.time, `${seconds.toFixed(1)} of ${duration(this.longest_s)}`);
  }

  end(blob) {
    this.recording = null;
    this.setRecording(false);
    if (blob) this.set(blob, "recording.wav");
    else showError(this.wrong, new Error("Nothing was recorded. Is the microphone on?"));
  }

  setRecording(isOn) {
    replace(this.button, isOn ? "Stop recording" : "Record");
    this.button.classList.toggle("primary", isOn);
    this.meter.hidden = !isOn;
    if (!isOn) replace(this.time);
  }

  async set(blob, name = "sound.wav") {
    replace(this.wrong);
    const read = await readSamples(blob);
    this.samples = read?.samples ?? null;
    const seconds = read ? read.samples.length / read.rate : null;
    this.sound = { blob, name, seconds, asRow: async () => ({ sound: await readBase64(blob) }) };
    if (this.audio.src) URL.revokeObjectURL(this.audio.src);
    this.audio.src = URL.createObjectURL(blob);
    this.audio.hidden = read === null;
    this.show([]);
    this.onSound(this.sound);
  }

  /** The sound, with parts of it below. */
  show(parts) {
    const { name, seconds, blob } = this.sound;
    const size = `${name}, ${seconds === null ? "" : `${seconds.toFixed(1)} s, `}${Math.ceil(blob.size / 1024).toLocaleString("en")} KiB`;
    const longest = Math.max(0, ...parts.map(({ end_s }) => end_s));
    const note = seconds === null ? "This browser cannot play it, but the server may read it." : "";
    replace(
      this.view,
      h("p", { class: "muted small" }, size, note ? `. ${note}` : ""),
      seconds === null && !parts.length
        ? null
        : soundTimeline({ audio: this.audio, samples: this.samples, seconds: seconds ?? longest, parts }),
    );
  }

  destroy() {
    this.recording?.stop();
    if (this.audio.src) URL.revokeObjectURL(this.audio.src);
  }
}
