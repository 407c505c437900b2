-- Count the commit under way, as a part of it.
UPDATE progress SET commits = commits + 1
