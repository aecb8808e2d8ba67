"""The worker logs: what every process logs, as Parquet files that many writers and readers share."""
