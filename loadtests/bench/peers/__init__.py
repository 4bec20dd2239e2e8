"""The servers that are compared. A new one is a file here that defines ``PEER``, and a line in the table below."""

from collections.abc import Mapping

from loadtests.bench.peer import Peer
from loadtests.bench.peers.bentoml import PEER as BENTOML
from loadtests.bench.peers.sluice import PEER as SLUICE

PEERS: Mapping[str, Peer] = {peer.name: peer for peer in (SLUICE, BENTOML)}
