"""A simulated Hubble: real gRPC servers that play the traffic of a homelab, with known violations.

`SimulatedHubble` serves it in this process; `flowwatch simulate` and `python -m flowwatch.simulate`
do from the command line. What is in the traffic is known beforehand and told by `Truth`, so that
what flowwatch finds can be held against it. Servers can be broken as real ones break (`Fault`), and
`Evidence` tells which flows a client can have received. Only what it sends looks like Cilium: no
part of the pipeline is used to make it.
"""

from flowwatch.simulate.cases import Case, CaseClass
from flowwatch.simulate.endpoint import Tls
from flowwatch.simulate.faults import Fault, Mode, chaos, parse_fault
from flowwatch.simulate.journal import Evidence, Fates
from flowwatch.simulate.server import SimulatedHubble
from flowwatch.simulate.traffic import Script
from flowwatch.simulate.truth import Tally, Totals, Truth

__all__ = [
    "Case",
    "CaseClass",
    "Evidence",
    "Fates",
    "Fault",
    "Mode",
    "Script",
    "SimulatedHubble",
    "Tally",
    "Tls",
    "Totals",
    "Truth",
    "chaos",
    "parse_fault",
]
