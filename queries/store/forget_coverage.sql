-- Forget the coverage of minutes before the moment.
-- params: before
DELETE FROM coverage WHERE minute < $before
