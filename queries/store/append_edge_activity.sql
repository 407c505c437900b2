-- Append what a commit's flows added to the edges; `batch` is an Arrow table.
INSERT INTO edge_activity BY NAME SELECT * FROM batch
