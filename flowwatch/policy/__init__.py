"""What network policies mean, exactly as Cilium means it.

Reads NetworkPolicy, CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, ClusterNetworkPolicy and its
predecessors, and answers for one end of a connection whether that end's policies allow it: allow, deny or
unknown with a reason. It knows nothing of flows that were seen, of the native allowlist, or of time.
"""
