-- Forget the meaning of the codes, to be filled anew by the flowwatch that opened the file.
DELETE FROM codes
