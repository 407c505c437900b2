-- Findings whose fingerprint is not in `batch` (one column, fingerprint) are no longer active.
UPDATE findings SET active = false
WHERE active AND fingerprint NOT IN (SELECT fingerprint FROM batch)
