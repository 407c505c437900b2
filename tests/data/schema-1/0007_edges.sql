-- Every distinct client → server : protocol/port, with what the allowlist says of it.
-- columns: edge (INTEGER, number used in flows), client_identity, server_identity (INTEGER), client_ip, server_ip (VARCHAR, outside the cluster where the address matters; with names, one address for all that no rule tells apart), server_names (VARCHAR[]), protocol (IANA number), port (ICMP: type), first_seen (TIMESTAMP, UTC), declared (VARCHAR: yes, no, unknown, ungoverned), rule (VARCHAR, the declaring rule), nearest_rule (VARCHAR), differs (VARCHAR[]), reason (VARCHAR), transport (VARCHAR: satisfied, violated, unknown; empty where the declaring rule asks for nothing), declared_by (VARCHAR[], titles of all rules that have part in declaring it)
CREATE TABLE IF NOT EXISTS edges (
    edge INTEGER NOT NULL,
    client_identity INTEGER NOT NULL,
    client_ip VARCHAR NOT NULL,
    server_identity INTEGER NOT NULL,
    server_ip VARCHAR NOT NULL,
    server_names VARCHAR[] NOT NULL,
    protocol INTEGER NOT NULL,
    port INTEGER NOT NULL,
    first_seen TIMESTAMP NOT NULL,
    declared VARCHAR NOT NULL,
    rule VARCHAR NOT NULL,
    nearest_rule VARCHAR NOT NULL,
    differs VARCHAR[] NOT NULL,
    reason VARCHAR NOT NULL,
    transport VARCHAR NOT NULL,
    declared_by VARCHAR[] NOT NULL
)
