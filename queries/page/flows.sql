-- The flows themselves, newest first, from a moment on backwards.
-- params: since, before, source, destination, verdict, words, limit, skip
-- columns: as the view flow_log
SELECT *
FROM flow_log
WHERE
    time >= $since AND time <= $before
    AND ($source = '' OR source = $source)
    AND ($destination = '' OR destination = $destination)
    AND ($verdict = '' OR verdict = $verdict)
    AND (len($words::VARCHAR[]) = 0 OR list_bool_and(list_transform($words::VARCHAR[], lambda word: contains(lower(concat_ws(
        ' ', node, class, drop_reason, source, destination, client_pod, server_pod, client_ip, server_ip, protocol, server_port, names, dns_query, http_url
    )), word))))
ORDER BY time DESC, node, event, source, destination, client_port, server_port, verdict
LIMIT $limit
OFFSET $skip
