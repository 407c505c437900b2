-- Ends of flows: an identity with the pod's name and the address it had.
-- columns: peer (INTEGER, number used in flows), identity (INTEGER), pod, ip (VARCHAR)
CREATE TABLE IF NOT EXISTS peers (
    peer INTEGER NOT NULL,
    identity INTEGER NOT NULL,
    pod VARCHAR NOT NULL,
    ip VARCHAR NOT NULL
)
