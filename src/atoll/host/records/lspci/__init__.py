"""What lspci prints, in all its forms: names, headings, details, dumped bytes, trees."""
