-- What the numbers in flows mean: one row per enum value known to the flowwatch that opened the file.
-- columns: kind (VARCHAR: verdict, event, drop_reason, direction, point, class, side, protocol, evidence, l7_type, l7_kind), code (INTEGER), name (VARCHAR)
CREATE TABLE IF NOT EXISTS codes (
    kind VARCHAR NOT NULL,
    code INTEGER NOT NULL,
    name VARCHAR NOT NULL
)
