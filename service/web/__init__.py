"""The pages that people see: a playground, live charts and the API's documentation."""
