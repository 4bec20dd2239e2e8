"""What is written from the OpenAPI document: answers, options, and the methods of the clients."""
