-- Give identities the workload they turned out to have; `batch`: identity, workload, workload_kind.
UPDATE identities
SET workload = batch.workload, workload_kind = batch.workload_kind
FROM batch
WHERE identities.identity = batch.identity
