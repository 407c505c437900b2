-- Flows as log lines: what tells streams apart, what can be filtered by, and the line itself as JSON without what is empty.
-- columns: time (TIMESTAMP_MS, UTC), namespace (of the side that spoke), direction, verdict, class, drop_reason, level (all VARCHAR, empty where there is none), the fields of the line (numbers NULL where there is none), line (VARCHAR)
CREATE OR REPLACE VIEW log_lines AS
WITH fields AS (
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
)

SELECT
    fields.*,
    '{' || concat_ws(
        ',',
        '"verdict":' || to_json(verdict),
        '"source":' || to_json(source),
        '"destination":' || to_json(destination),
        '"service":' || to_json(service),
        '"direction":' || to_json(direction),
        '"class":' || to_json(class),
        '"drop_reason":' || to_json(nullif(drop_reason, '')),
        '"denied_by":' || to_json(nullif(denied_by, '')),
        '"allowed_by":' || to_json(nullif(allowed_by, '')),
        '"names":' || to_json(nullif(names, '')),
        '"l7":' || to_json(nullif(l7, '')),
        '"dns_query":' || to_json(nullif(dns_query, '')),
        '"http_method":' || to_json(nullif(http_method, '')),
        '"http_url":' || to_json(nullif(http_url, '')),
        '"http_status":' || http_status,
        '"latency_us":' || latency_us,
        '"source_namespace":' || to_json(nullif(source_namespace, '')),
        '"destination_namespace":' || to_json(nullif(destination_namespace, '')),
        '"client_pod":' || to_json(nullif(client_pod, '')),
        '"server_pod":' || to_json(nullif(server_pod, '')),
        '"client_ip":' || to_json(nullif(client_ip, '')),
        '"server_ip":' || to_json(nullif(server_ip, '')),
        '"client_port":' || client_port,
        '"server_port":' || server_port,
        '"protocol":' || to_json(protocol),
        '"event":' || to_json(event),
        '"node":' || to_json(nullif(node, '')),
        '"weight":' || nullif(weight, 1),
        '"edge":' || edge
    ) || '}' AS line
FROM fields
