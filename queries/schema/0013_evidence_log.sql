-- The flows that prove findings, for people. Worded as flow_log is.
-- columns: uuid (VARCHAR), evidence (VARCHAR: forwarded, dropped, audited), the rest as flow_log
CREATE OR REPLACE VIEW evidence_log AS
SELECT
    flows.uuid,
    coalesce(kinds.name, flows.evidence::VARCHAR) AS evidence,
    flows.time,
    nodes.cluster,
    nodes.name AS node,
    coalesce(verdicts.name, flows.verdict::VARCHAR) AS verdict,
    coalesce(events.name, flows.event::VARCHAR) AS event,
    coalesce(classes.name, flows.class::VARCHAR) AS class,
    coalesce(sides.name, 'unknown') AS side,
    CASE WHEN flows.drop_reason = 0 THEN '' ELSE coalesce(drops.name, flows.drop_reason::VARCHAR) END AS drop_reason,
    coalesce(directions.name, flows.direction::VARCHAR) AS direction,
    CASE client_identities.kind
        WHEN 'pod' THEN client_identities.namespace || '/' || client_identities.workload
        WHEN 'world' THEN clients.ip
        ELSE client_identities.kind
    END AS source,
    CASE server_identities.kind
        WHEN 'pod' THEN server_identities.namespace || '/' || server_identities.workload
        WHEN 'world' THEN coalesce(nullif(flows.names, ''), servers.ip)
        ELSE server_identities.kind
    END AS destination,
    clients.pod AS client_pod,
    servers.pod AS server_pod,
    clients.ip AS client_ip,
    servers.ip AS server_ip,
    coalesce(protocols.name, flows.protocol::VARCHAR) AS protocol,
    flows.client_port,
    flows.server_port,
    flows.names,
    coalesce(l7_kinds.name, '') AS l7,
    flows.dns_query,
    flows.http_method,
    flows.http_url,
    flows.http_status,
    flows.latency_us,
    coalesce(allowed.policies, []) AS allowed_by,
    coalesce(denied.policies, []) AS denied_by,
    flows.weight,
    flows.edge,
    coalesce(client_identities.namespace, '') AS source_namespace,
    coalesce(server_identities.namespace, '') AS destination_namespace
FROM evidence AS flows
LEFT JOIN nodes USING (node)
LEFT JOIN peers AS clients ON clients.peer = flows.client
LEFT JOIN peers AS servers ON servers.peer = flows.server
LEFT JOIN identities AS client_identities ON client_identities.identity = clients.identity
LEFT JOIN identities AS server_identities ON server_identities.identity = servers.identity
LEFT JOIN policy_sets AS allowed ON allowed.policy_set = flows.allowed_by
LEFT JOIN policy_sets AS denied ON denied.policy_set = flows.denied_by
LEFT JOIN codes AS verdicts ON verdicts.kind = 'verdict' AND verdicts.code = flows.verdict
LEFT JOIN codes AS events ON events.kind = 'event' AND events.code = flows.event
LEFT JOIN codes AS classes ON classes.kind = 'class' AND classes.code = flows.class
LEFT JOIN codes AS sides ON sides.kind = 'side' AND sides.code = flows.side
LEFT JOIN codes AS drops ON drops.kind = 'drop_reason' AND drops.code = flows.drop_reason
LEFT JOIN codes AS directions ON directions.kind = 'direction' AND directions.code = flows.direction
LEFT JOIN codes AS protocols ON protocols.kind = 'protocol' AND protocols.code = flows.protocol
LEFT JOIN codes AS l7_kinds ON l7_kinds.kind = 'l7_kind' AND l7_kinds.code = flows.l7_kind
LEFT JOIN codes AS kinds ON kinds.kind = 'evidence' AND kinds.code = flows.evidence
