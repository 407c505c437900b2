-- Read the edges back after a restart, in the order of their numbers.
-- columns: edge, client_identity, client_ip, server_identity, server_ip, server_names, protocol, port, first_seen (nanoseconds)
SELECT edge, client_identity, client_ip, server_identity, server_ip, server_names, protocol, port, epoch_ns(first_seen) AS first_seen
FROM edges
ORDER BY edge
