-- Coverage is counted otherwise from here on; what was counted before is taken over below.
ALTER TABLE coverage RENAME TO coverage_before
