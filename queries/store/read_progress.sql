-- How many commits has the file taken?
-- columns: commits (BIGINT)
SELECT max(commits) AS commits FROM progress
