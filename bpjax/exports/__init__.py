"""A model in the forms that other software loads, one file a form."""
