"""Benchmarks: each figure beside its peer or physical limit, measured in the same run (`make bench`)."""
