"""Shows what a trained network looks at: effective receptive field and Grad-CAM."""
