-- When were we blind, and can never know? From a node's last flow before to its first flow after.
-- params: since, until
-- columns: cluster, node (VARCHAR), since, until (TIMESTAMP), seconds (DOUBLE), reason (VARCHAR)
SELECT cluster, node, since, until, epoch(until) - epoch(since) AS seconds, reason
FROM gaps
WHERE until > $since::TIMESTAMP AND since < $until::TIMESTAMP
ORDER BY since, cluster, node
