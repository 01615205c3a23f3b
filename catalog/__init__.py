"""Plain functions that the systems share, in rooms that import only downwards; each room says who may import it."""
