-- Of the edges and kinds of evidence in `batch` keep the five newest flows each.
DELETE FROM evidence
WHERE rowid IN (
    SELECT evidence.rowid
    FROM evidence
    SEMI JOIN batch ON batch.edge = evidence.edge AND batch.evidence = evidence.evidence
    QUALIFY row_number() OVER (PARTITION BY evidence.edge, evidence.evidence ORDER BY evidence.time DESC, evidence.rowid DESC) > 5
)
