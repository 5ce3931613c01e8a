"""What a trained network looks at: its effective receptive field, and Grad-CAM."""
