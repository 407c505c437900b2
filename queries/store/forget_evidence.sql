-- Forget the proof of findings that are over, where it is older than the moment.
-- params: before
DELETE FROM evidence
WHERE time < $before AND uuid NOT IN (SELECT unnest(samples) FROM findings WHERE active)
