"""The compared servers. To add one, write a file here that defines ``PEER``, and add it to the table below."""

from collections.abc import Mapping

from loadtests.bench.peer import Peer
from loadtests.bench.peers.bentoml import PEER as BENTOML
from loadtests.bench.peers.fastapi import PEER as FASTAPI
from loadtests.bench.peers.litserve import PEER as LITSERVE
from loadtests.bench.peers.mlserver import PEER as MLSERVER
from loadtests.bench.peers.mosec import PEER as MOSEC
from loadtests.bench.peers.ray import PEER as RAY
from loadtests.bench.peers.sluice import ASGI_PEER as SLUICE_ASGI
from loadtests.bench.peers.sluice import PEER as SLUICE
from loadtests.bench.peers.triton import PEER as TRITON

_ALL = (SLUICE, SLUICE_ASGI, BENTOML, LITSERVE, MLSERVER, RAY, FASTAPI, MOSEC, TRITON)
PEERS: Mapping[str, Peer] = {peer.name: peer for peer in _ALL}
