"""Makes signatures by OpenSSF's model-signing, without a network."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_store.errors import BadKey, NotSigned
from model_store.files.links import tell_why
from model_store.signing import SIGNATURE_FILE
from model_store.signing.keys import Signers, parse_signers

if TYPE_CHECKING:
    from model_signing.signing import Config

_NEEDED = "signing needs model-signing: pip install 'sluice-serving[signing]'"
_EXPECTED = "expected a private key on the curve P-256, P-384 or P-521"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key on an elliptic curve, in a PEM file.

    ``certificate`` is that of the key, and goes into the signature. ``chain`` are those between it and the one that
    verifiers trust. ``passphrase`` is that of the key file, if it has one.
    """

    key: Path
    certificate: Path | None = None
    chain: Sequence[Path] = ()
    passphrase: bytes | None = None

    def sign(self, folder: Path) -> bytes:
        """The content of the signature file of a version. Raises BadKey, or NotSigned if its files cannot be signed.

        All files of the folder are signed, except an old signature.
        """
        try:
            from model_signing import hashing, signing
        except ImportError:
            raise BadKey(_NEEDED) from None
        config = self._configure(signing.Config())  # type: ignore[no-untyped-call]
        hashed = hashing.Config()  # type: ignore[no-untyped-call]
        config.set_hashing_config(hashed.set_ignored_paths(paths=[SIGNATURE_FILE], ignore_git_paths=False))
        with tempfile.TemporaryDirectory(prefix="sluice-sign-") as temporary:
            path = Path(temporary) / SIGNATURE_FILE
            try:
                config.sign(folder, path)
            except ValueError as error:  # for example a link, which some tools make of equal files
                raise NotSigned(f"its files cannot be signed: {error}") from None
            return path.read_bytes()

    def read_signers(self) -> Signers:
        """The signers that accept signatures of this key: its public half, or its certificate. Raises BadKey."""
        try:
            from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
        except ImportError:
            raise BadKey(_NEEDED) from None
        if self.certificate is not None:
            return parse_signers(_read(self.certificate))
        try:
            private = load_pem_private_key(_read(self.key), self.passphrase)
        except TypeError:
            asked = (
                "no passphrase was expected"
                if self.passphrase
                else "its passphrase is needed: add --passphrase, or set SIGNING_KEY_PASSPHRASE"
            )
            raise BadKey(f"{self.key}: {asked}") from None
        except ValueError as error:  # another format, or a wrong passphrase
            raise BadKey(f"{self.key}: expected a PEM file of a private key: {error}") from None
        try:
            return parse_signers(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        except BadKey:
            raise BadKey(f"{self.key}: {_EXPECTED}, got another kind of key") from None

    def _configure(self, config: "Config") -> "Config":
        """Raises BadKey."""
        if self.certificate is not None and self.passphrase is not None:
            raise BadKey(f"{self.key}: with a certificate, expected the key in a file without a passphrase")
        try:
            if self.certificate is None:
                # The passphrase is passed on to a function that takes bytes.
                return config.use_elliptic_key_signer(private_key=self.key, password=self.passphrase)  # type: ignore[arg-type]
            # The chain may not be empty. The certificate itself adds nothing to it.
            chain = self.chain or (self.certificate,)
            return config.use_certificate_signer(
                private_key=self.key, signing_certificate=self.certificate, certificate_chain=chain
            )
        except OSError as error:
            raise BadKey(f"{error.filename}: it cannot be read: {tell_why(error)}") from None
        except (ValueError, TypeError) as error:  # another format or curve, a wrong passphrase, another certificate
            expected = _EXPECTED if self.certificate is None else f"{_EXPECTED}, that of {self.certificate}"
            raise BadKey(f"{self.key}: {expected}: {error}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadKey(f"{path}: it cannot be read: {tell_why(error)}") from None
