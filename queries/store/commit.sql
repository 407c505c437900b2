-- Make the transaction durable.
COMMIT
