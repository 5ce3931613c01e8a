"""From a sweep file to tables: the only place for ray, mlflow and pandas."""
