"""What undoes a control without our doing."""
