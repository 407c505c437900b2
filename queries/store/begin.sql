-- Begin the transaction of one commit.
BEGIN TRANSACTION
