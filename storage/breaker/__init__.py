"""Circuit breakers; see `parquedb.storage.breaker.circuit`."""
