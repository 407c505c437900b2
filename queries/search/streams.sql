-- Which streams does what a search selected consist of, and how large are they? `found` is what it selected.
-- columns: labels (VARCHAR[]), lines (BIGINT), bytes (BIGINT)
SELECT
    labels,
    count(*)::BIGINT AS lines,
    sum(size)::BIGINT AS bytes
FROM found
GROUP BY ALL
ORDER BY ALL
