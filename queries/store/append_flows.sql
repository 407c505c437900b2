-- Append a batch of flows; `batch` is an Arrow table with the columns of flows, in their order.
INSERT INTO flows BY NAME SELECT * FROM batch
