-- The rules of the allowlist in force.
-- columns: rule (INTEGER), title, reason, owner, position (VARCHAR, file:line)
CREATE TABLE IF NOT EXISTS rules (
    rule INTEGER NOT NULL,
    title VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    owner VARCHAR NOT NULL,
    position VARCHAR NOT NULL
)
