-- What was counted before is taken over.
DROP TABLE coverage_before
