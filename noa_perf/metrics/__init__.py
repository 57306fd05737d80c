"""What the other apps count: kept in time buckets for reports and pages, and exported to Prometheus."""
