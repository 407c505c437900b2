-- Which declared rules did no traffic use in the window? Only as true as the coverage of the window.
-- params: since, until
-- columns: rule (VARCHAR), reason, owner, position (VARCHAR, file:line)
SELECT rules.title AS rule, rules.reason, rules.owner, rules.position
FROM rules
WHERE NOT EXISTS (
    SELECT 1
    FROM edge_history
    INNER JOIN edges USING (edge)
    WHERE list_contains(edges.declared_by, rules.title) AND edge_history.time >= $since AND edge_history.time < $until
)
ORDER BY rules.rule
