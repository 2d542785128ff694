"""Where turns and pull requests come from: the Hub, local parquet files, agent sessions."""
