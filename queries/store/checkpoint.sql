-- Write the log into the file.
CHECKPOINT
