-- How many flows of each kind there were, from all there is: per commit, per minute and per hour, each row in one of the three.
-- columns: as flow_activity
CREATE OR REPLACE VIEW flow_history AS
SELECT minute, node, verdict, event, drop_reason, class, side, flows FROM flow_activity
UNION ALL
SELECT minute, node, verdict, event, drop_reason, class, side, flows FROM flow_minutes
UNION ALL
SELECT minute, node, verdict, event, drop_reason, class, side, flows FROM flow_hours
