"""``sluice models sign``."""

import argparse
import json
import os
from dataclasses import replace
from getpass import getpass
from pathlib import Path

from model_store.commands.action import WrongUsage, add_json, add_model, add_version
from model_store.errors import NotSigned
from model_store.manifest import MANIFEST_FILE
from model_store.signing import SIGNATURE_FILE
from model_store.signing.keys import explain_unsigned
from model_store.store import Store

PASSPHRASE = "SIGNING_KEY_PASSPHRASE"  # noqa: S105  # the name of a variable, which is no setting of a server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_version(parser)
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="PEM file of the private key")
    parser.add_argument(
        "--certificate", type=Path, metavar="FILE", help="PEM file of the key's certificate, to put into the signature"
    )
    parser.add_argument(
        "--chain",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="PEM file of a certificate between that one and the one that servers trust; may be repeated",
    )
    parser.add_argument("--passphrase", action="store_true", help=f"ask for the passphrase of the key [{PASSPHRASE}]")
    add_json(parser, "what was signed")


def run(store: Store, args: argparse.Namespace) -> int:
    from model_store.signing.signing import SigningKey  # needs cryptography

    if args.chain and args.certificate is None:
        raise WrongUsage("--chain: expected --certificate too, because the chain leads from it to a trusted one")
    version = store.find(args.model, args.version)
    if version.is_plain:
        raise NotSigned(explain_unsigned(version.name, version.version))
    key = SigningKey(args.key, args.certificate, args.chain, _ask_passphrase(args.passphrase))
    signers = key.read_signers()
    version.verify()
    signature = key.sign(version.folder)
    signers.check(signature, (version.folder / MANIFEST_FILE).read_bytes(), version.version)
    store.write_signature(version, signature)
    replace(version, signers=signers).verify()
    if args.json:
        print(json.dumps({"name": version.name, "version": version.version, "file": SIGNATURE_FILE}))
    else:
        print(f"signed {version.name} version {version.version}")
    return 0


def _ask_passphrase(ask: bool) -> bytes | None:
    text = os.environ.get(PASSPHRASE) or (getpass("passphrase of the key: ") if ask else "")
    return text.encode() or None
