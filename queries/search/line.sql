-- What a search found, with each flow as one line of JSON without what is empty. `chosen` is what it selected.
-- columns: as the view log_fields, and line (VARCHAR)
SELECT
    chosen.*,
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
FROM chosen
