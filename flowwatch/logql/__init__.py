"""The part of LogQL that flowwatch answers: what a query says, free of HTTP and of databases.

`parse` reads a query into the values of `syntax`; what it does not know it refuses, naming the
construct and where it stands. `evaluate` turns counts into samples, `answers` rows into the JSON
that Loki's clients expect. Nothing here knows where flows are kept.
"""
