"""The checks that keep the data honest: blind rule, protocol, duplicates, secrets, contamination, licenses."""
