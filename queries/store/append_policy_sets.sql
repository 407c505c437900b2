-- Append policy sets seen for the first time; `batch` is an Arrow table.
INSERT INTO policy_sets BY NAME SELECT * FROM batch
