"""The constructs of the semantics document that generated scenarios have to contain, by section."""

from __future__ import annotations

CONSTRUCTS = frozenset(
    """
    §1 deny section|§1 enableDefaultDeny false|§1 enableDefaultDeny true|§1 enableDefaultDeny true without rules
    §1 deny only|§1 several policies|§1 pod to itself|§1 enforcement always|§1 enforcement never|§1 enforcement default
    §1 no_localhost|§1 non_default_deny_off
    §2 cilium rule {}|§2 cilium section [] beside another|§2 cilium section null|§2 peers []|§2 peers [] with ports
    §2 peers null|§2 toFQDNs [] with ports|§2 toFQDNs [] alone|§2 toGroups [] with ports|§2 toServices [] with ports
    §2 toServices missing with ports|§2 toServices missing alone|§2 ports only|§2 fromEndpoints [{}]|§2 toPorts []
    §2 toPorts [{}]|§2 ports []|§2 rules without restriction|§2 http [{}]|§2 deny rule {}|§2 endpointSelector {}
    §2 specs|§2 spec and specs|§2 knp rule {}|§2 knp section []|§2 knp from []|§2 knp ports only|§2 knp ports []
    §2 knp ports [{}]|§2 knp podSelector {} peer|§2 knp namespaceSelector {}|§2 knp podSelector absent
    §3 matchLabels|§3 In|§3 NotIn|§3 Exists|§3 DoesNotExist|§3 missing key|§3 source k8s|§3 source any
    §3 source reserved|§3 source cidr|§3 source fqdn|§3 source gen|§3 source container|§3 dot instead of colon
    §3 filtered label|§3 service account|§3 namespace label|§3 namespace label operator|§3 cluster label
    §3 cnp subject k8s namespace|§3 cnp subject bare namespace|§3 ccnp subject namespace|§3 ccnp subject reserved
    §3 peer namespace k8s|§3 peer namespace any|§3 peer namespace bare|§3 peer namespace Exists
    §3 peer namespace NotIn|§3 peer namespace In|§3 peer reserved DoesNotExist|§3 remote cluster pod
    §4 all|§4 world|§4 cluster|§4 cluster-mesh|§4 host|§4 remote-node|§4 kube-apiserver|§4 health|§4 ingress|§4 init
    §4 unmanaged|§4 none|§4 cidr|§4 cidr of pods|§4 cidr of nodes|§4 cidr of apiserver|§4 cidr /0|§4 cidr host bits
    §4 cidr v6|§4 cidrSet|§4 except|§4 cidrGroupRef|§4 cidrGroupSelector|§4 cidrGroup missing|§4 cidrGroup except
    §4 nodes mode|§4 pods mode|§4 matchName|§4 matchName case|§4 matchName trailing dot|§4 matchPattern
    §4 matchPattern *|§4 matchPattern **.|§4 matchPattern inner **|§4 toServices name|§4 toServices selector
    §4 toServices backends|§4 nodes|§4 toGroups|§4 probe with fqdn
    §5 protocol absent|§5 protocol ANY|§5 protocol TCP|§5 protocol UDP|§5 protocol SCTP|§5 port 0|§5 endPort
    §5 endPort not above port|§5 named port|§5 named port upper case|§5 named port undefined|§5 named port egress
    §5 icmp v4|§5 icmp v6|§5 icmp by name|§5 icmp default family|§5 icmp with peers|§5 icmp in deny
    §5 knp protocol absent|§5 knp port absent|§5 knp endPort|§5 knp named port
    §6 policyTypes absent|§6 policyTypes both|§6 policyTypes egress|§6 policyTypes ingress|§6 policyTypes without rules
    §6 ns and pod|§6 ns only|§6 pod only|§6 ipBlock|§6 ipBlock except|§6 two peers
    §7 ccnp|§7 nodeSelector|§7 nodeSelector with labels|§7 host_firewall|§7 node_selector_labels
    §8 http method|§8 http path|§8 http host|§8 http headers|§8 http header presence|§8 http headerMatches
    §8 http mismatch|§8 two http rules|§8 dns|§8 kafka|§8 authentication|§8 l7 without default deny|§8 l7 on egress
    §8 probe http|§8 probe dns
    §9 Admin|§9 Baseline|§9 Accept|§9 Deny|§9 Pass|§9 several rules|§9 subject namespaces|§9 subject pods
    §9 peer namespaces|§9 peer pods|§9 networks|§9 nodes|§9 domainNames|§9 domainNames wildcard|§9 unknown peer
    §9 protocols absent|§9 number|§9 range|§9 named|§9 two policies
    probe tcp|probe udp|probe sctp|probe icmp|probe icmpv6|probe v6|subject host|subject health|subject ingress
    subject init|peer host|peer remote-node|peer world|peer kube-apiserver|peer external kube-apiserver|peer unmanaged
    """.strip()
    .replace("\n", "|")
    .replace("    ", "")
    .split("|")
)
