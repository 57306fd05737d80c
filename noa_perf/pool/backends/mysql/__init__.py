"""Django's engine for MySQL and MariaDB (mysqlclient), pooled: ``ENGINE = "noa_perf.pool.backends.mysql"``."""
