"""Pod generation for Airflow tasks: the general path, and compiled byte slices."""
