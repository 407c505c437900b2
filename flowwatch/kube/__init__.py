"""What the cluster has, by the objects of its API: kept up to date, and held against what is declared.

`resources` says which objects are read, what of each is kept, and which rights that takes. `reflector` is the life of
one list and watch, without any socket; `client` and `watching` are the edge around it, `access` its credentials.
`live` is the state of the cluster at one moment, `differences` what is otherwise in it than declared. `election` is
the life of the one object that is ever written, a Lease, and `lease` the edge around it.
"""
