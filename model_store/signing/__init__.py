"""Signatures of versions, in the format of OpenSSF's model-signing.

The signature of a version is its file ``model.sig``. It covers ``manifest.json``, which has the digest of every other
file. The digests are checked when files are read. So if the signature of the manifest is good, all that is loaded is
what was signed.
"""

SIGNATURE_FILE = "model.sig"
