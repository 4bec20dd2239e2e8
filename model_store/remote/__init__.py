"""Remote stores: in a bucket, on a web server, or in an OCI registry.

A server reads local folders only. ``Mirror`` keeps a folder equal to a remote store; ``push`` copies versions to one.

Rules
- A version appears in the folder when it is whole and every file has the digest that its manifest gives.
- Aliases and rollouts are written after the versions that they name.
- Names and sizes that a remote store gives are not trusted.
- While the remote store is away, the folder stays as it is.
"""
