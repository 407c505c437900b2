-- Edges for people: who → whom, and what the allowlist says.
-- columns: edge, source, destination, service (VARCHAR), declared, rule, nearest_rule, differs, reason, transport, first_seen, source_namespace, destination_namespace, destination_kind
CREATE OR REPLACE VIEW edge_log AS
SELECT
    edges.edge,
    CASE clients.kind
        WHEN 'pod' THEN clients.namespace || '/' || clients.workload
        WHEN 'world' THEN coalesce(nullif(edges.client_ip, ''), 'world')
        ELSE clients.kind
    END AS source,
    CASE servers.kind
        WHEN 'pod' THEN servers.namespace || '/' || servers.workload
        WHEN 'world' THEN coalesce(edges.server_names[1], nullif(edges.server_ip, ''), 'world')
        ELSE servers.kind
    END AS destination,
    CASE
        WHEN protocols.name IN ('ICMP', 'ICMPV6') THEN protocols.name || '/' || edges.port
        WHEN protocols.name = 'NONE' THEN '?'
        WHEN edges.port = 0 THEN protocols.name
        ELSE edges.port || '/' || protocols.name
    END AS service,
    edges.declared,
    edges.rule,
    edges.nearest_rule,
    edges.differs,
    edges.reason,
    edges.transport,
    edges.first_seen,
    clients.namespace AS source_namespace,
    servers.namespace AS destination_namespace,
    servers.kind AS destination_kind
FROM edges
LEFT JOIN identities AS clients ON clients.identity = edges.client_identity
LEFT JOIN identities AS servers ON servers.identity = edges.server_identity
LEFT JOIN codes AS protocols ON protocols.kind = 'protocol' AND protocols.code = edges.protocol
