"""The messages of Hubble, generated from `proto/` by `proto/generate.sh`.

`flow_pb2`, `observer_pb2`, `peer_pb2` and `relay_pb2` are the whole of Cilium's API;
`projection_pb2` is the part of a flow that is decoded for every message. Nothing here is
written by hand except this text. Methods are called by their path, such as
`/observer.Observer/GetFlows`, so there are no service stubs.
"""
