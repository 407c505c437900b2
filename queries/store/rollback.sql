-- Give the transaction up.
ROLLBACK
