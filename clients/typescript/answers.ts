// Written by `make client-types` from the OpenAPI document: do not edit.

export type Numbers = number | Numbers[];

/** How much each position of the row counts for the label, as numbers or as a picture over the row. */
export interface Explanation {
  method: "saliency" | "integrated_gradients" | "occlusion";
  /** size of what occlusion hides, by axis */
  window?: number[];
  stride?: number[];
  values?: Numbers;
  /** a PNG in base64 */
  image?: string;
}

export interface LabelledPart {
  begin_s: number;
  end_s: number;
  label: string;
  index: number;
  probability: number;
}

export interface Score {
  label: string;
  /** position of the label, from 0 */
  index: number;
  probability: number;
}

/** The most probable label, and the ``top_k`` most probable ones, highest first. */
export interface Classification {
  label: string;
  /** position of the label, from 0 */
  index: number;
  probability: number;
  top: Score[];
  /** all that count, if a row may have several */
  labels?: Score[];
  /** a number beside the label, if the model has one */
  score?: number;
  explanation?: Explanation;
  /** of a sound, if asked for */
  windows?: LabelledPart[];
}

/** A part of a text that has a label. */
export interface Part {
  label: string;
  text: string;
  /** its first character, counted in Unicode characters from 0 */
  start: number;
  /** the character after its last one */
  end: number;
  /** the mean of its tokens */
  probability: number;
}

/** The parts of a text that have a label, in the order of the text. */
export interface TaggedText {
  spans: Part[];
}

export interface ClassifyAnswer {
  model: string;
  version: string;
  predictions: (Classification | TaggedText)[];
}

/** The pixels of a box that belong to the object. */
export interface Mask {
  left: number;
  top: number;
  /** a black and white PNG in base64, white inside */
  image: string;
}

export interface Point {
  name?: string;
  x: number;
  y: number;
  score?: number;
}

/** One box, with all coordinates in pixels of the picture as it was sent, upright. */
export interface Detected {
  /** left, top, right, bottom */
  box: number[];
  label: string;
  /** position of the label, from 0 */
  index: number;
  score: number;
  points?: Point[];
  mask?: Mask;
}

/** The boxes of a picture, highest score first. */
export interface DetectPrediction {
  width: number;
  height: number;
  detections: Detected[];
}

export interface DetectAnswer {
  model: string;
  version: string;
  predictions: DetectPrediction[];
}

export interface Area {
  label: string;
  /** position of the label, from 0 */
  index: number;
  /** of the pixels of the picture */
  share: number;
}

/** A JPEG, PNG, WebP, GIF, TIFF or BMP file in JSON. */
export interface EncodedPicture {
  /** the file, in base64 */
  image: string;
}

/** The label of each pixel, and the labels that there are, largest area first. */
export interface SegmentPrediction {
  width: number;
  height: number;
  labels: Area[];
  /** positions of labels: the pixel values of a PNG, or nested numbers if asked for */
  mask: EncodedPicture | number[][];
}

export interface SegmentAnswer {
  model: string;
  version: string;
  predictions: SegmentPrediction[];
}

/** One number, or several by name. */
export interface Number {
  value?: number;
  values?: Record<string, number>;
}

export interface RegressAnswer {
  model: string;
  version: string;
  unit?: string;
  predictions: Number[];
}

/** How similar two rows are, in the metric of the model. ``same``: the verdict, if the model has a threshold. */
export interface Comparison {
  /** cosine of the angle */
  similarity?: number;
  /** Euclidean */
  distance?: number;
  same?: boolean;
}

export interface EmbeddedPart {
  begin_s: number;
  end_s: number;
  embedding: number[] | string;
}

export interface EmbedPrediction {
  /** the vector, as numbers or in base64 */
  embedding: number[] | string;
  /** one for each element of `compare` */
  comparisons?: Comparison[];
  /** of a sound, if asked for */
  windows?: EmbeddedPart[];
}

export interface EmbedAnswer {
  model: string;
  version: string;
  predictions: EmbedPrediction[];
}

export interface ForecastPrediction {
  /** the centre of the forecast, one value for each step */
  mean: number[];
  quantiles?: Record<string, number[]>;
  /** signed; send it back with the values that came since */
  state?: string;
}

/** A symbol that was read, and its place: sides in pixels of the picture as it was sent, or seconds of the sound. */
export interface Piece {
  text: string;
  probability: number;
  left?: number;
  right?: number;
  start?: number;
  end?: number;
}

export interface WrittenPart {
  begin_s: number;
  end_s: number;
  text: string;
  probability: number;
  log_probability: number;
  tokens: number;
  complete: boolean;
}

export interface TextPrediction {
  text: string;
  /** of a text that was written, that of all its tokens; that was read, the mean */
  probability: number;
  /** the symbols that were read, if asked for */
  pieces?: Piece[];
  /** natural; of a long text it says more */
  log_probability?: number;
  /** how many tokens the text has */
  tokens?: number;
  /** false: the text had not ended at the last step */
  complete?: boolean;
  /** of a sound, if asked for */
  windows?: WrittenPart[];
}

export interface SequenceAnswer {
  model: string;
  version: string;
  predictions: (ForecastPrediction | TextPrediction)[];
}

export interface ForecastEvent {
  row: number;
  step: number;
  value: number;
}

/** `text` is the whole text up to this step. */
export interface TextEvent {
  row: number;
  /** of a sound, from 0 */
  window?: number;
  step: number;
  text: string;
}

export type SequenceEvent = ForecastEvent | TextEvent;

/** A WAV, FLAC, OGG or MP3 file in JSON. */
export interface EncodedSound {
  /** the file, in base64 */
  sound: string;
}

export interface ReconstructPrediction {
  /** nested numbers, or a PNG or WAV if asked for */
  output: Numbers | EncodedPicture | EncodedSound;
  /** the difference of output and row */
  error: number;
  /** whether `score`, else `error`, is over `threshold` */
  anomaly?: boolean;
  score?: number;
  threshold?: number;
  /** nested numbers, or a PNG or WAV if asked for */
  error_map?: Numbers | EncodedPicture | EncodedSound;
}

export interface ReconstructAnswer {
  model: string;
  version: string;
  predictions: ReconstructPrediction[];
}

/** The time that a step of a pipeline took. Steps may run side by side. */
export interface StepTimes {
  rows: number;
  queue_s: number;
  compute_s: number;
  total_s: number;
}

export interface PipelineAnswer {
  model: string;
  version: string;
  /** the outputs of the pipeline, by name */
  predictions: Record<string, unknown>[];
  /** by step */
  timings?: Record<string, StepTimes>;
}

/** A step that has ended, and how many rows it had. */
export interface PipelineEvent {
  step: string;
  rows: number;
}

export interface GenerateAnswer {
  model: string;
  version: string;
  /** the same seed gives the same rows again */
  seed?: number;
  /** the two ends of an interpolation */
  seeds?: number[];
  labels?: string[];
  outputs: (Numbers | EncodedPicture | EncodedSound)[];
}

/** `preview` is the row as the model expects it to end. */
export interface GenerateEvent {
  row: number;
  step: number;
  steps: number;
  /** nested numbers, or a PNG or WAV if asked for */
  preview: Numbers | EncodedPicture | EncodedSound;
}
