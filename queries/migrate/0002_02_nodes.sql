-- Nodes belong to a cluster; those of before belong to the only one there was, whose name nobody wrote down.
ALTER TABLE nodes ADD COLUMN cluster VARCHAR DEFAULT ''
