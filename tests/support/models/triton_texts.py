"""Complete configurations in the style of Triton's own test repositories: together they set every field there is."""

BATCHES = """
# A classifier, with all that is not about sequences; lists with a colon and without.
name: "classifier"          # the folder's name
platform: "onnxruntime_onnx"
backend: "onnxruntime"
runtime: "libtriton_onnxruntime.so"
max_batch_size: 16
version_policy: { latest { num_versions: 2 } }
default_model_filename: "resnet.onnx"
cc_model_filenames [ { key: "8.0" value: "resnet_sm80.onnx" }, { key: "9.0" value: "resnet_sm90.onnx" } ]
metric_tags: [ { key: "team" value: "vision" } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
input [
  {
    name: "IMAGE" data_type: TYPE_UINT8 format: FORMAT_NHWC dims: [ 224, 224, 3 ]
    reshape: { shape: [ 1, 224, 224, 3 ] }
    is_shape_tensor: false allow_ragged_batch: false optional: true is_non_linear_format_io: false
  },
  { name: "TEXT" data_type: TYPE_STRING dims: -1 dims: 2 }
]
input: < name: 'SCALAR'; data_type: TYPE_BF16; dims: [ 1 ]; reshape: < shape: [] > >
output: [
  { name: "SCORES" data_type: TYPE_FP32 dims: [ 10 ] label_filename: "labels.txt" reshape { shape: [ 2, 5 ] } },
  { name: "STEPS" data_type: 9 dims: [ -1, 4 ] is_shape_tensor: false is_non_linear_format_io: false }
]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 1500 preserve_ordering: true
  priority_levels: 2 default_priority_level: 1
  default_queue_policy {
    timeout_action: DELAY default_timeout_microseconds: 250000 allow_timeout_override: true max_queue_size: 64
  }
  priority_queue_policy: [ { key: 2 value: { timeout_action: REJECT max_queue_size: 8 } } ]
}
instance_group [
  {
    name: "gpus" kind: KIND_GPU count: 2 gpus: [ 0, 1 ] profile: [ "0" ] passive: true host_policy: "gpu_0"
    secondary_devices [ { kind: KIND_NVDLA device_id: 1 } ]
    rate_limiter { resources [ { name: "R1" global: true count: 3 } ] priority: 2 }
  },
  { kind: KIND_CPU }
]
optimization {
  graph { level: 1 } priority: PRIORITY_MAX
  cuda {
    graphs: true busy_wait_events: true output_copy_stream: true
    graph_spec [ {
      batch_size: 4
      input { key: "IMAGE" value { dim: [ 224, 224, 3 ] } }
      graph_lower_bound { batch_size: 2 input: { key: "IMAGE" value: { dim: [ 224, 224, 3 ] } } }
    } ]
  }
  execution_accelerators {
    gpu_execution_accelerator: [ { name: "tensorrt" parameters { key: "precision_mode" value: "FP16" } } ]
    cpu_execution_accelerator [ { name: "openvino" } ]
  }
  input_pinned_memory { enable: true } output_pinned_memory { enable: true }
  gather_kernel_buffer_threshold: 64 eager_batching: true
}
model_warmup [
  {
    name: "once" batch_size: 4
    inputs [
      { key: "IMAGE" value: { data_type: TYPE_UINT8 dims: [ 224, 224, 3 ] random_data: true } },
      { key: "TEXT" value: { data_type: TYPE_STRING dims: [ 3, 2 ] input_data_file: "texts" } }
    ]
    inputs { key: "SCALAR" value: { data_type: TYPE_BF16 zero_data: true } }
  },
  { name: "thrice" batch_size: 1 count: 3 },
  { name: "never" batch_size: 0 }
]
model_operations { op_library_filename: [ "custom.so" ] }
model_transaction_policy { decoupled: false }
model_repository_agents { agents [ { name: "checksum" parameters { key: "MD5:1/resnet.onnx" value: "c0ffee" } } ] }
response_cache { enable: true }
model_metrics {
  metric_control [ {
    metric_identifier { family: "nv_inference_first_response_histogram_ms" }
    histogram_options { buckets: [ 1, 2.5, 1e3 ] }
  } ]
}
"""

SEQUENCE = """
backend: "onnxruntime"
max_batch_size: 0
version_policy { specific: { versions: [ 1, 3 ] } }
input { name: "INPUT" data_type: TYPE_INT32 dims: [ 1 ] }
output { name: "OUTPUT" data_type: TYPE_INT32 dims: [ 1 ] }
sequence_batching {
  max_sequence_idle_microseconds: 5000000
  oldest {
    max_candidate_sequences: 4 preferred_batch_size: [ 2 ] max_queue_delay_microseconds: 100 preserve_ordering: true
  }
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
    { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY fp32_false_true: [ -1, 0.5 ] } ] },
    { name: "END" control { kind: CONTROL_SEQUENCE_END bool_false_true: [ false, true ] } },
    { name: "ID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } ] }
  ]
  state [
    {
      input_name: "SUM_IN" output_name: "SUM_OUT" data_type: TYPE_FP16 dims: [ -1, 2 ]
      use_same_buffer_for_input_output: true use_growable_memory: true
      initial_state: { name: "start" data_type: TYPE_FP16 dims: [ 3, 2 ] data_file: "sum.bin" }
    },
    {
      input_name: "COUNT_IN" output_name: "COUNT_OUT" data_type: TYPE_INT64
      initial_state: { zero_data: true }
    },
    { input_name: "LAST_IN" output_name: "LAST_OUT" data_type: TYPE_BOOL dims: [ 1 ] }
  ]
}
"""

ITERATIVE = """
version_policy { all { } }
sequence_batching {
  direct { max_queue_delay_microseconds: 50 minimum_slot_utilization: 0.5 }
  iterative_sequence: true
}
"""

RAGGED = """
input [ { name: "INDEX" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]
batch_input [ {
  kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "COUNTS" data_type: TYPE_INT32 source_input: "INDEX"
} ]
batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: [ "SCATTERED" ] source_input: [ "INDEX" ] } ]
"""

TENSORRT = """
backend: "tensorrt"
input { name: "SIZE" data_type: TYPE_INT32 dims: [ 2 ] is_shape_tensor: true }
input { name: "PLANES" data_type: TYPE_FP16 dims: [ 3, 8, 8 ] is_non_linear_format_io: true }
output { name: "SHAPE" data_type: TYPE_INT32 dims: [ 2 ] is_shape_tensor: true }
output { name: "PLANES" data_type: TYPE_FP16 dims: [ 3, 8, 8 ] is_non_linear_format_io: true }
model_transaction_policy { decoupled: true }
"""

ENSEMBLE = """
platform: "ensemble"
ensemble_scheduling {
  max_inflight_requests: 4
  step [
    {
      model_name: "preprocess" model_version: -1 model_namespace: "shared"
      input_map { key: "RAW" value: "IMAGE" } output_map { key: "OUT" value: "pixels" }
    },
    {
      model_name: "classify"
      input_map: [ { key: "IN" value: "pixels" } ] output_map: [ { key: "OUT" value: "SCORES" } ]
    }
  ]
}
"""

ALL = (BATCHES, SEQUENCE, ITERATIVE, RAGGED, TENSORRT, ENSEMBLE)
