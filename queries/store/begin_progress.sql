-- Count commits from zero, in a file where nothing was counted yet.
INSERT INTO progress SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM progress)
