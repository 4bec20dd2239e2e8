/** Records the microphone as WAV. Browsers' own recorder writes formats that the server does not read. */

import { writeWav } from "./wav.js";

const WORKLET = new URL("capture.worklet.js", import.meta.url);

/** Why this page cannot record; empty if it can. */
export function whyNotRecord() {
  if (!isSecureContext) return "Browsers record only over https or from this computer itself. Drop a file instead.";
  if (!navigator.mediaDevices?.getUserMedia || typeof AudioWorkletNode === "undefined")
    return "This browser cannot record. Drop a file instead.";
  return "";
}

/**
 * Begin to record.
 * @param {{longest_s: number, onLevel: (level: number, seconds: number) => void, onEnd: (blob: Blob|null) => void}} options
 *   `onLevel` gets the loudness, 0 to 1, and the length so far; `onEnd` the file, null if nothing was heard
 * @returns {Promise<{stop: () => void}>}
 * @throws {Error} with a sentence, if the microphone is refused or missing
 */
export async function record({ longest_s, onLevel, onEnd }) {
  const stream = await openMicrophone();
  const context = new AudioContext();
  const parts = [];
  let length = 0;
  let isOver = false;
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    return context.close();
  };
  try {
    await context.audioWorklet.addModule(WORKLET);
  } catch (error) {
    await close();
    throw error;
  }
  const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  node.port.onmessage = ({ data }) => {
    const room = Math.max(0, Math.floor(longest_s * context.sampleRate) - length);
    const part = data.subarray(0, room);
    if (part.length) parts.push(part);
    length += part.length;
    onLevel(
      part.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0),
      length / context.sampleRate,
    );
    if (isOver) end();
    else if (part.length >= room) stop();
  };
  context.createMediaStreamSource(stream).connect(node);

  function stop() {
    if (isOver) return;
    isOver = true;
    node.port.postMessage("give"); // the last part, which is not full
  }

  async function end() {
    node.port.onmessage = null;
    const rate = context.sampleRate;
    await close();
    onEnd(length ? writeWav(parts, rate) : null);
  }

  return { stop };
}

async function openMicrophone() {
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  } catch (error) {
    const reasons = {
      NotAllowedError:
        "The browser does not let this page use the microphone. Allow it in the address bar, or drop a file.",
      NotFoundError: "There is no microphone. Drop a file instead.",
      NotReadableError: "Another program uses the microphone.",
    };
    throw new Error(reasons[error.name] ?? `The microphone does not work: ${error.message}`);
  }
}

/**
 * The samples of a sound file, as the browser reads it: one channel.
 * @param {Blob} blob
 * @returns {Promise<{samples: Float32Array, seconds: number}|null>} null for files that the browser does not read
 */
export async function readSamples(blob) {
  const context = new OfflineAudioContext(1, 1, 44_100);
  try {
    const buffer = await context.decodeAudioData(await blob.arrayBuffer());
    const samples = Float32Array.from(buffer.getChannelData(0));
    for (let channel = 1; channel < buffer.numberOfChannels; channel += 1) {
      buffer.getChannelData(channel).forEach((sample, i) => (samples[i] += sample));
    }
    return { samples: samples.map((sample) => sample / buffer.numberOfChannels), seconds: buffer.duration };
  } catch {
    return null;
  }
}
