"""``cactus serve``: the models of this machine for programs that speak HTTP."""
