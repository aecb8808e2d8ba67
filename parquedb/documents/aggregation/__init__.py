"""The aggregation pipeline: stages, expressions and accumulators over streams of documents."""

from parquedb.documents.aggregation.pipeline import RESULTS_MAX, STAGES_MAX, Pipeline, Run, parse_pipeline

__all__ = ["RESULTS_MAX", "STAGES_MAX", "Pipeline", "Run", "parse_pipeline"]
