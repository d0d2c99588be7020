"""The real-time side: the control loop, safety, and plants."""
