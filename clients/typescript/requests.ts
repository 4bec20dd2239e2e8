// Written by `make client-types` from the OpenAPI document: do not edit.

import type { EncodedPicture, EncodedSound, Numbers } from "./answers.js";

export interface ClassifyRequest {
  inputs: (Numbers | EncodedPicture | EncodedSound | string | Record<string, Numbers | EncodedPicture | EncodedSound | string | null> | (number | string | null)[])[];
  /** needed where several models do the task, unless one is the default */
  model?: string | null;
  /** a number or an alias; default: the newest that serves */
  version?: string | number | null;
  /** server-sent events, one for each step; the last, `done`, has the answer */
  stream?: boolean | null;
  /** how many labels for each row */
  top_k?: number | null;
  /** least probability of the labels of a row that may have several, and of parts of texts; default: that of the model */
  threshold?: number | null;
  /** why the label was chosen; true: the method that suits the model */
  explain?: boolean | "saliency" | "integrated_gradients" | "occlusion" | null;
  /** `picture`: over the row, as a PNG */
  explanation_format?: "numbers" | "picture" | null;
  /** answer with the label of each window of a sound too, and its times */
  windows?: boolean | null;
}

export interface DetectRequest {
  inputs: (Numbers | EncodedPicture | EncodedSound | string | Record<string, Numbers | EncodedPicture | EncodedSound | string | null> | (number | string | null)[])[];
  /** needed where several models do the task, unless one is the default */
  model?: string | null;
  /** a number or an alias; default: the newest that serves */
  version?: string | number | null;
  /** server-sent events, one for each step; the last, `done`, has the answer */
  stream?: boolean | null;
  /** least score of a box; default: that of the model */
  threshold?: number | null;
  /** the most boxes of a picture, the best ones; default: that of the model */
  max_detections?: number | null;
  /** the labels, or their positions from 0, of the boxes that are wanted; default: all */
  classes?: (string | number)[] | null;
  /** answer with the mask of each box, if the model gives masks */
  masks?: boolean | null;
}

export interface SegmentRequest {
  inputs: (Numbers | EncodedPicture | EncodedSound | string | Record<string, Numbers | EncodedPicture | EncodedSound | string | null> | (number | string | null)[])[];
  /** needed where several models do the task, unless one is the default */
  model?: string | null;
  /** a number or an alias; default: the newest that serves */
  version?: string | number | null;
  /** server-sent events, one for each step; the last, `done`, has the answer */
  stream?: boolean | null;
  /** `picture`: a PNG whose pixel values are positions of labels, with a colour for each; `numbers`: nested numbers */
  mask_format?: "numbers" | "picture" | null;
}

export interface RegressRequest {
  inputs: (Numbers | EncodedPicture | EncodedSound | string | Record<string, Numbers | EncodedPicture | EncodedSound | string | null> | (number | string | null)[])[];
  /** needed where several models do the task, unless one is the default */
  model?: string | null;
  /** a number or an alias; default: the newest that serves */
  version?: string | number | null;
  /** server-sent events, one for each step; the last, `done`, has the answer */
  stream?: boolean | null;
}

export interface EmbedRequest {
  inputs: (Numbers | EncodedPicture | EncodedSound | string | Record<string, Numbers | EncodedPicture | EncodedSound | string | null> | (number | string | null)[])[];
  /** needed where several models do the task, unless one is the default */
  model?: string | null;
  /** a number or an alias; default: the newest that serves */
  version?: string | number | null;
  /** server-sent events, one for each step; the last, `done`, has the answer */
  stream?: boolean | null;
  /** `base64`: each vector as the bytes of its numbers, float32, little-endian */
  encoding?: "float" | "base64" | null;
  /** a shorter length of the vectors, if the model has it */
  dimensions?: number | null;
  /** rows, or vectors as `{"embedding": ...}`: the answer says how similar each row is to each of these */
  compare?: unknown[] | null;
  /** answer with the vector of each window of a sound too, and its times */
  windows?: boolean | null;
}

/** A series as an object. The other inputs of the model are further fields, by name. */
export interface Series {
  /** oldest first; the name of the input works too */
  values?: number[];
  /** from an earlier answer; `values` are what came since */
  state?: string;
  [name: string]: unknown;
}

export interface SequenceRequest {
  inputs: (number[] | Series | string | EncodedPicture | EncodedSound | Numbers)[];
  /** needed where several models do the task, unless one is the default */
  model?: string | null;
  /** a number or an alias; default: the newest that serves */
  version?: string | number | null;
  /** server-sent events, one for each step; the last, `done`, has the answer */
  stream?: boolean | null;
  /** width of the beam search; 1, the default, takes the most probable character at each step */
  beams?: number | null;
  /** where each symbol was read: its sides in the picture, or its seconds in the sound */
  pieces?: boolean | null;
  /** with beams: 0, the default, finds the likeliest text, 1 the one whose tokens are likeliest on the average; the higher it is, the longer are texts */
  length_penalty?: number | null;
  /** above 0: tokens are drawn, the more evenly the higher it is; 0, the default, takes the likeliest token */
  temperature?: number | null;
  /** with a temperature: draws of so many of the likeliest tokens only */
  top_k?: number | null;
  /** with a temperature: draws of the likeliest tokens that together have this probability */
  top_p?: number | null;
  /** a text ends before the first of these */
  stop?: string[] | null;
  /** the most tokens of a text, or of each window of a sound; default: as many as the model can write */
  max_tokens?: number | null;
  /** answer with the text of each window of a sound too, and its times */
  windows?: boolean | null;
  /** steps ahead; default: 12, or the model's own horizon */
  horizon?: number | null;
  /** between 0 and 1; those of a model that answers at once are fixed */
  quantiles?: number[] | null;
  /** the same seed gives the same bits, in any batch */
  seed?: number | null;
  /** how many paths are drawn for the quantiles of a series */
  paths?: number | null;
  /** answer with a state too, which a later request can continue, on any replica with the same key */
  return_state?: boolean | null;
}

export interface ReconstructRequest {
  inputs: (Numbers | EncodedPicture | EncodedSound | string | Record<string, Numbers | EncodedPicture | EncodedSound | string | null> | (number | string | null)[])[];
  /** needed where several models do the task, unless one is the default */
  model?: string | null;
  /** a number or an alias; default: the newest that serves */
  version?: string | number | null;
  /** server-sent events, one for each step; the last, `done`, has the answer */
  stream?: boolean | null;
  /** `picture`: each row as a PNG in base64; `sound`: as a WAV in base64 */
  output_format?: "numbers" | "picture" | "sound" | null;
  /** one of the graphs that the manifest names; default: the first */
  graph?: string | null;
  /** answer with a map of the differences too */
  error_map?: boolean | null;
}

export interface PipelineRequest {
  inputs: (Numbers | EncodedPicture | EncodedSound | string | Record<string, Numbers | EncodedPicture | EncodedSound | string | null> | (number | string | null)[] | Record<string, unknown>)[];
  /** needed where several models do the task, unless one is the default */
  model?: string | null;
  /** a number or an alias; default: the newest that serves */
  version?: string | number | null;
  /** server-sent events, one for each step; the last, `done`, has the answer */
  stream?: boolean | null;
  /** answer with the rows and seconds of each step too */
  timings?: boolean | null;
}

/** The seeds of the two ends of an interpolation. */
export interface Between {
  seeds: number[];
}

export interface GenerateRequest {
  /** needed where several models do the task, unless one is the default */
  model?: string | null;
  /** a number or an alias; default: the newest that serves */
  version?: string | number | null;
  /** server-sent events, one for each step; the last, `done`, has the answer */
  stream?: boolean | null;
  /** of a diffusion */
  steps?: number | null;
  /** of a diffusion: the strength of classifier-free guidance */
  guidance?: number | null;
  /** of a diffusion: noise between the steps, from 0 (none, DDIM) to 1 (all, DDPM) */
  eta?: number | null;
  /** `picture`: each row as a PNG in base64; `sound`: as a WAV in base64 */
  output_format?: "numbers" | "picture" | "sound" | null;
  /** how many rows; default: as many as labels, or 1 */
  count?: number | null;
  /** 0 to 2^63 - 1; the same seed gives the same bits, in any batch */
  seed?: number | null;
  /** texts or positions: one for all rows, or one for each; default: all in turn */
  labels?: (string | number)[] | null;
  /** from the row of one seed to that of another, with one label; not for a diffusion */
  interpolate?: Between | null;
}
