"""Fuzzing of all that reads bytes from outside: no crash, no hang, every rejected input counted with a reason."""
