"""From a call that arrives to a group that is committed: queued, decided, numbered, answered."""
