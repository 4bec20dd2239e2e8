"""Signatures of versions, in the format of OpenSSF's model-signing.

The signature of a version is its file ``model.sig``. It covers ``manifest.json``, which has the digest of every other
file; the digests are checked where files are read. So whoever has checked the signature over the bytes of the manifest
that they use has checked all that is loaded.
"""

SIGNATURE_FILE = "model.sig"
