"""`make locust`: traders, subscribers and an operator as Locust's users, and the command that starts them."""
