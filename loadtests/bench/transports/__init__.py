"""How tensors reach the same server: HTTP, gRPC, shared memory; asked by Triton's perf_analyzer."""
