"""The pages of the documentation; this file lets the package carry them (`corpus help TOPIC`)."""
