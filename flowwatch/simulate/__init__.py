"""A simulated Hubble: a real gRPC server that plays the traffic of a homelab, with known violations.

`SimulatedHubble` serves it in this process; `flowwatch simulate` and `python -m flowwatch.simulate`
do from the command line. What is in the traffic is known beforehand and told by `Truth`, so that
what flowwatch finds can be held against it. Only what it sends looks like Cilium: no part of the
pipeline is used to make it.
"""

from flowwatch.simulate.cases import Case, CaseClass
from flowwatch.simulate.server import SimulatedHubble, Tls
from flowwatch.simulate.traffic import Script
from flowwatch.simulate.truth import Tally, Totals, Truth

__all__ = ["Case", "CaseClass", "Script", "SimulatedHubble", "Tally", "Tls", "Totals", "Truth"]
