"""What a training costs, measured on a device or predicted without one."""
