-- What was seen of each edge, from all there is: added up per commit, per minute and per hour, each row in one of the three.
-- columns: as edge_activity. A row counts at its newest flow, so a window that begins or ends inside a minute (long ago: an hour) has the whole of it or nothing.
CREATE OR REPLACE VIEW edge_history AS
SELECT time, first_time, edge, evidence, side, flows, verdicts, openings FROM edge_activity
UNION ALL
SELECT time, first_time, edge, evidence, side, flows, verdicts, openings FROM edge_minutes
UNION ALL
SELECT time, first_time, edge, evidence, side, flows, verdicts, openings FROM edge_hours
