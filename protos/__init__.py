"""What goes over the wire, and the one client. A leaf: it imports no other room."""
