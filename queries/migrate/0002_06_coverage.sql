-- What was received and lost stays; that a stream was up at some time in a minute says nothing of how long.
INSERT INTO coverage
SELECT minute, '', node, 0, 0, flows, lost_perf, lost_queue, lost_ring, lost_other, 0, 0, 0
FROM coverage_before
