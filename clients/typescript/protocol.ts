// Written by `make client-types` from the OpenAPI document: do not edit.

/** How the requests of a model share batches. */
export interface Batching {
  /** whether requests share batches */
  batches: boolean;
  max_rows: number;
  max_wait_s: number;
  /** whether the rows of a batch are independent: proved, mixing or unknown */
  rows: string;
  /** how that is known */
  reason: string;
  /** how a row's bits depend on the other rows of its batch, on this provider */
  bits: string;
  /** smaller batches are filled up to this size */
  least_rows: number;
  /** threads of a batch that runs alone; null: one */
  threads_alone: number | null;
}

export interface PipelineFacts {
  /** as they were written */
  steps: Record<string, Record<string, unknown>>;
  outputs: Record<string, string>;
  /** what its golden requests have shown */
  golden: string;
  /** a drawing */
  mermaid: string;
}

/** What was measured on held-out data. `bar` holds the least value that each metric had to reach. */
export interface Quality {
  data: string;
  rows: number;
  metrics: Record<string, number>;
  bar: Record<string, number>;
}

/** Sizes that are not fixed, such as that of the batch, are -1. */
export interface TensorMetadata {
  name: string;
  datatype: "BOOL" | "UINT8" | "UINT16" | "UINT32" | "UINT64" | "INT8" | "INT16" | "INT32" | "INT64" | "FP16" | "FP32" | "FP64" | "BF16" | "BYTES";
  shape: number[];
}

/** A version that is a canary or a shadow. */
export interface Trial {
  version: string;
  /** of the requests that name no version */
  percent: number;
  state: "on trial" | "waiting" | "returned";
  /** why it went back, or does not serve yet */
  reason?: string;
}

/** The versions that are tried beside the stable one. */
export interface Trials {
  canary?: Trial;
  shadow?: Trial;
}

/** A version that was loaded, that failed to load, or that cannot be loaded. */
export interface VersionState {
  version: string;
  state: "LOADING" | "READY" | "UNLOADING" | "UNAVAILABLE";
  /** why it does not serve */
  reason?: string;
}

/** One model. What is not required is there when a version serves, as far as it applies. */
export interface Card {
  name: string;
  ready: boolean;
  /** the version that serves unless another is asked for */
  serving: string | null;
  /** it is not in memory, and is loaded when asked for; not ready if that is the first time */
  on_demand?: boolean;
  aliases: Record<string, number>;
  versions: VersionState[];
  /** why it does not serve */
  reason?: string;
  rollout?: Trials;
  /** where it serves otherwise than the store says, and why */
  warnings?: string[];
  task?: string;
  /** the routes that answer for it */
  tasks?: string[];
  description?: string;
  /** what its manifest says of inputs and answers, such as image or table */
  details?: Record<string, unknown>;
  graphs?: string[];
  labels?: string[];
  inputs?: TensorMetadata[];
  outputs?: TensorMetadata[];
  quality?: Quality | null;
  /** how it compares with its original */
  parity?: Record<string, unknown> | null;
  licence?: string | null;
  /** of ONNX Runtime */
  provider?: string;
  /** cpu, or cuda: and the number of the GPU */
  device?: string;
  /** largest difference from its golden samples */
  golden_error?: number | null;
  batching?: Batching;
  pipeline?: PipelineFacts;
}

export interface Cards {
  models: Card[];
}

/** Every error of every route. */
export interface Error {
  /** what was expected, what came, and what to do */
  error: string;
  /** as in the header X-Request-Id and in the log of the server */
  request_id: string;
}

export interface TensorParameters {
  /** bytes after the JSON, in place of `data` */
  binary_data_size?: number | null;
  /** a registered region, in place of `data` */
  shared_memory_region?: string | null;
  /** where the tensor begins in the region */
  shared_memory_offset?: number | null;
  /** bytes of the tensor */
  shared_memory_byte_size?: number | null;
  [name: string]: unknown;
}

export type Values = (boolean | number | string | Values)[];

/** A tensor: `data`, or bytes after the JSON whose number is in `parameters`.  Floats may be the texts `NaN`, `Infinity` and `-Infinity`. */
export interface InferInput {
  name: string;
  shape: number[];
  datatype: "BOOL" | "UINT8" | "UINT16" | "UINT32" | "UINT64" | "INT8" | "INT16" | "INT32" | "INT64" | "FP16" | "FP32" | "FP64" | "BF16" | "BYTES";
  parameters?: TensorParameters | null;
  data?: Values | null;
}

/** Unknown parameters have no effect; names that begin with `triton_` are refused. Null counts as absent. */
export interface InferParameters {
  /** 0 or an empty text: no sequence */
  sequence_id?: number | string | null;
  sequence_start?: boolean | null;
  sequence_end?: boolean | null;
  /** 1 goes before the others */
  priority?: number | null;
  /** microseconds until 504 */
  timeout?: number | null;
  /** default of the outputs' `binary_data` */
  binary_data_output?: boolean | null;
  [name: string]: unknown;
}

export interface OutputParameters {
  binary_data?: boolean | null;
  /** so many highest values, as value:index:label */
  classification?: number | null;
  /** a registered region that the output is written to */
  shared_memory_region?: string | null;
  /** where it is written in the region */
  shared_memory_offset?: number | null;
  /** room for it there */
  shared_memory_byte_size?: number | null;
  [name: string]: unknown;
}

export interface InferWanted {
  name: string;
  parameters?: OutputParameters | null;
}

export interface InferRequest {
  id?: string | null;
  /** not read: the path names the model */
  model_name?: unknown;
  parameters?: InferParameters | null;
  /** empty for a model without inputs */
  inputs: InferInput[];
  /** default: all */
  outputs?: InferWanted[] | null;
}

/** `data` is flat, in row-major order. NaN and infinities are the texts `NaN`, `Infinity` and `-Infinity`. */
export interface InferOutput {
  name: string;
  datatype: "BOOL" | "UINT8" | "UINT16" | "UINT32" | "UINT64" | "INT8" | "INT16" | "INT32" | "INT64" | "FP16" | "FP32" | "FP64" | "BF16" | "BYTES";
  shape: number[];
  parameters?: TensorParameters;
  data?: Values;
}

export interface InferAnswer {
  id?: string;
  model_name: string;
  model_version: string;
  outputs: InferOutput[];
}

export interface ModelMetadata {
  name: string;
  versions: string[];
  platform: string;
  inputs: TensorMetadata[];
  outputs: TensorMetadata[];
  /** whether the rows of a batch are independent: proved, mixing or unknown */
  rows: string;
  /** how that is known, or the node that mixes rows or is unknown */
  rows_reason: string;
  /** how a row's bits depend on the other rows of its batch, on this provider */
  bits: string;
  /** of a model that writes text: what its length costs */
  writing?: string;
}

/** A pipeline takes no tensors. */
export interface PipelineMetadata {
  name: string;
  versions: string[];
  platform: string;
  inputs: TensorMetadata[];
  outputs: TensorMetadata[];
  pipeline: PipelineFacts;
}

export interface ServerMetadata {
  name: string;
  version: string;
  extensions: string[];
}
