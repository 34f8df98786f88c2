"""What a PCI function says about itself."""
