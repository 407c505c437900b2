-- Flows as log lines are searched by: what tells streams apart, and the fields of the line (queries/search/line.sql writes it).
-- columns: time (TIMESTAMP_MS, UTC), namespace (of the side that spoke), direction, verdict, class, drop_reason, level (all VARCHAR, empty where there is none), the fields of the line (numbers NULL where there is none)
CREATE OR REPLACE VIEW log_fields AS
SELECT
    time,
    CASE side
        WHEN 'egress' THEN source_namespace
        WHEN 'ingress' THEN destination_namespace
        ELSE coalesce(nullif(source_namespace, ''), destination_namespace)
    END AS namespace,
    side AS direction,
    verdict,
    class,
    drop_reason,
    CASE WHEN verdict IN ('DROPPED', 'ERROR') THEN 'error' WHEN verdict = 'AUDIT' THEN 'warning' ELSE 'info' END AS level,
    coalesce(source, '') AS source,
    coalesce(destination, '') AS destination,
    CASE
        WHEN protocol IN ('ICMP', 'ICMPV6') THEN protocol || '/' || server_port
        WHEN protocol = 'NONE' THEN '?'
        WHEN server_port = 0 THEN protocol
        ELSE server_port || '/' || protocol
    END AS service,
    source_namespace,
    destination_namespace,
    protocol,
    event,
    coalesce(node, '') AS node,
    coalesce(client_pod, '') AS client_pod,
    coalesce(server_pod, '') AS server_pod,
    coalesce(client_ip, '') AS client_ip,
    coalesce(server_ip, '') AS server_ip,
    coalesce(names, '') AS names,
    l7,
    coalesce(dns_query, '') AS dns_query,
    coalesce(http_method, '') AS http_method,
    coalesce(http_url, '') AS http_url,
    array_to_string(allowed_by, ', ') AS allowed_by,
    array_to_string(denied_by, ', ') AS denied_by,
    nullif(client_port, 0) AS client_port,
    nullif(server_port, 0) AS server_port,
    nullif(http_status, 0) AS http_status,
    nullif(latency_us, 0) AS latency_us,
    weight,
    edge
FROM flow_log
