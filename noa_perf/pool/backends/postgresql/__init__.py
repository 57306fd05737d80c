"""Django's engine for PostgreSQL (psycopg 3), pooled: ``ENGINE = "noa_perf.pool.backends.postgresql"``."""
