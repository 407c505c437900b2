-- Alerts as they last changed: what a restart must know, so that it neither forgets one nor fires it again. One row per fingerprint; replaced as a whole when any of them changes.
-- columns: fingerprint, name, state (VARCHAR: pending, firing, resolved), labels, annotations (MAP), watched (BOOLEAN: only somebody who watches the network can say that it is over), active_since, fired_at, resolved_at, last_seen, last_sent, seen_at (DOUBLE, seconds since the epoch, 0: never; seen_at: the newest flow behind it)
CREATE TABLE IF NOT EXISTS alerts (
    fingerprint VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    labels MAP(VARCHAR, VARCHAR) NOT NULL,
    annotations MAP(VARCHAR, VARCHAR) NOT NULL,
    watched BOOLEAN NOT NULL,
    active_since DOUBLE NOT NULL,
    fired_at DOUBLE NOT NULL,
    resolved_at DOUBLE NOT NULL,
    last_seen DOUBLE NOT NULL,
    last_sent DOUBLE NOT NULL,
    seen_at DOUBLE NOT NULL
)
