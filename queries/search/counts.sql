-- How many lines, of how many bytes, fall into each slice of time of each group? `found` is what a search selected.
-- columns: labels (VARCHAR[]), slice (BIGINT, from 1), lines (BIGINT), bytes (BIGINT)
SELECT
    labels,
    (epoch_ms(time) * 1000000 - base + width - 1) // width AS slice,
    count(*)::BIGINT AS lines,
    sum(size)::BIGINT AS bytes
FROM found
GROUP BY ALL
ORDER BY ALL
