"""Whether a machine, its settings and its stores are fit for a database, and what to do where they are not."""
