"""Answering reads: of the present under the lease, of the past, and for those who read storage themselves."""
