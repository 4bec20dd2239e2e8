// Written by `make client-types` from the OpenAPI document: do not edit.

import type { ClassifyAnswer, DetectAnswer, EmbedAnswer, GenerateAnswer, GenerateEvent, PipelineAnswer, PipelineEvent, ReconstructAnswer, RegressAnswer, SegmentAnswer, SequenceAnswer, SequenceEvent } from "./answers.js";
import type { ClassifyRequest, DetectRequest, EmbedRequest, GenerateRequest, PipelineRequest, ReconstructRequest, RegressRequest, SegmentRequest, SequenceRequest } from "./requests.js";

/** Task -> its request, its answer, and the events of its stream. */
export interface Tasks {
  classify: { request: ClassifyRequest; answer: ClassifyAnswer; event: never };
  detect: { request: DetectRequest; answer: DetectAnswer; event: never };
  segment: { request: SegmentRequest; answer: SegmentAnswer; event: never };
  regress: { request: RegressRequest; answer: RegressAnswer; event: never };
  embed: { request: EmbedRequest; answer: EmbedAnswer; event: never };
  predict_sequence: { request: SequenceRequest; answer: SequenceAnswer; event: SequenceEvent };
  reconstruct: { request: ReconstructRequest; answer: ReconstructAnswer; event: never };
  pipeline: { request: PipelineRequest; answer: PipelineAnswer; event: PipelineEvent };
  generate: { request: GenerateRequest; answer: GenerateAnswer; event: GenerateEvent };
}
