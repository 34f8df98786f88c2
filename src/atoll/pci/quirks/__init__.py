"""What Linux knows about particular chips that their registers do not tell."""
