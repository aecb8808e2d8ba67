"""Order, conflict and durability of one namespace: the engine, its parts, and the Ray actor around it."""
