-- Which flows prove which finding? They are kept as long as the finding is open, and as long as flows are kept.
-- params: since, until
-- columns: fingerprint, square, source, destination, service, uuid (VARCHAR), time (TIMESTAMP_MS; it and the rest NULL where the flow itself was not kept), node, verdict, event, drop_reason, client_pod, server_pod, client_ip, server_ip, protocol (VARCHAR), client_port, server_port (INTEGER), names, dns_query, http_method, http_url (VARCHAR), http_status (INTEGER), allowed_by, denied_by (VARCHAR[])
WITH named AS (
    SELECT fingerprint, square, source, destination, service, last_seen, unnest(samples) AS uuid
    FROM findings
    WHERE last_seen >= $since AND last_seen < $until
),

proof AS (
    SELECT * FROM evidence_log QUALIFY row_number() OVER (PARTITION BY uuid ORDER BY time DESC) = 1
)

SELECT
    named.fingerprint,
    named.square,
    named.source,
    named.destination,
    named.service,
    named.uuid,
    proof.time,
    proof.node,
    proof.verdict,
    proof.event,
    proof.drop_reason,
    proof.client_pod,
    proof.server_pod,
    proof.client_ip,
    proof.server_ip,
    proof.protocol,
    proof.client_port,
    proof.server_port,
    proof.names,
    proof.dns_query,
    proof.http_method,
    proof.http_url,
    proof.http_status,
    proof.allowed_by,
    proof.denied_by
FROM named
LEFT JOIN proof ON proof.uuid = named.uuid
ORDER BY named.last_seen DESC, named.fingerprint, proof.time DESC, named.uuid
