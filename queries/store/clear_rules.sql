-- Forget the rules of the allowlist that was in force.
DELETE FROM rules
