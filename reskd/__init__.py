"""Resolution distillation for video: models, data, cohorts, metrics. Knows no Ray and no MLflow."""
