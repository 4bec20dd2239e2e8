"""System shared memory of callers: which regions are registered, and their bytes.

Tensors may lie in a file below `/dev/shm` that a caller on this machine has made, in place of the body. The files of
callers are never mapped. If a caller made a mapped file shorter, the next access would end the process (SIGBUS); and
values that were checked could change before they run. So bytes are copied, each once, by `preadv` and `pwrite`.
"""
