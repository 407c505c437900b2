-- The newest flows that are evidence for one edge as people read it.
-- params: source, destination, service, evidence, limit
-- columns: as the view flow_log
WITH wanted AS (
    SELECT edge
    FROM edge_log
    WHERE source = $source AND destination = $destination AND service = $service
)

SELECT flow_log.*
FROM flow_log
WHERE
    flow_log.edge IN (SELECT wanted.edge FROM wanted)
    AND CASE $evidence WHEN 'dropped' THEN flow_log.verdict IN ('DROPPED', 'ERROR') ELSE flow_log.verdict NOT IN ('DROPPED', 'ERROR') END
ORDER BY flow_log.time DESC
LIMIT $limit
