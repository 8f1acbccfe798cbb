"""What `python -m data.check` looks for: pictures there twice, labels that look wrong, files without a partner."""
